defmodule Foundation.ConfigGuidesTest do
  # The code in the guides on configuration and errors runs and gives what they say.
  use ExUnit.Case, async: false

  alias Foundation.Config
  alias Foundation.Distributed.{Consensus, State}
  alias Foundation.Services.ConfigServer

  setup do
    for node <- Node.list(), do: Node.disconnect(node)
    clean()
    on_exit(&clean/0)
  end

  defp clean do
    Config.disable_cluster_wide_sync()
    _ = State.stop(:foundation_config)
    for group <- Consensus.groups(), do: Consensus.stop_group(group)
    :ok = ConfigServer.reset_state()
  end

  for {guide, least} <- [{"config.md", 26}, {"error_context.md", 7}] do
    test guide do
      path = Path.expand("../../guides/#{unquote(guide)}", __DIR__)
      assert Foundation.Guide.run(path) >= unquote(least)
    end
  end
end
