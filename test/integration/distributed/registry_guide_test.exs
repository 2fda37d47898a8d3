defmodule Foundation.Distributed.RegistryGuideTest do
  # The code of guides/registry.md does what it says, on one node.
  use ExUnit.Case, async: false

  alias Foundation.Distributed.Consensus

  setup do
    Enum.each(Node.list(), &Node.disconnect/1)
    on_exit(fn -> for group <- Consensus.groups(), do: Consensus.stop_group(group) end)
  end

  test "the guide's code does what the guide says" do
    assert Foundation.Guide.run("guides/registry.md") == 0
  end
end
