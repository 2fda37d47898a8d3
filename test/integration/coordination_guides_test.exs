defmodule Foundation.CoordinationGuidesTest do
  # The code in the guides on consensus and coordination runs and gives what they say.
  use ExUnit.Case, async: false

  alias Foundation.Distributed.Consensus

  setup do
    unless Node.list() == [], do: Enum.each(Node.list(), &Node.disconnect/1)
    on_exit(fn -> for group <- Consensus.groups(), do: Consensus.stop_group(group) end)
  end

  for {guide, least} <- [{"consensus.md", 12}, {"coordination.md", 18}] do
    test guide do
      path = Path.expand("../../guides/#{unquote(guide)}", __DIR__)
      assert Foundation.Guide.run(path) >= unquote(least)
    end
  end
end
