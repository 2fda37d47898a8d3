defmodule Foundation.MeshGuideTest do
  # The code of guides/mesh.md, run as it stands there.
  use ExUnit.Case, async: false

  setup do
    on_exit(fn ->
      Foundation.Infrastructure.Limits.delete_limits({:llm, "m"})
      for %{pid: pid} <- Foundation.Distributed.Discovery.discover_services(), do: Process.exit(pid, :kill)
    end)
  end

  test "every value is as the guide says" do
    assert Foundation.Guide.run("guides/mesh.md") >= 15
  end
end
