defmodule Foundation.ConfigGuidesTest do
  # The code in the guides on configuration and errors runs and gives what they say.
  use ExUnit.Case, async: false

  alias Foundation.Services.ConfigServer

  setup do
    :ok = ConfigServer.reset_state()
    on_exit(fn -> ConfigServer.reset_state() end)
  end

  for {guide, least} <- [{"config.md", 15}, {"error_context.md", 7}] do
    test guide do
      path = Path.expand("../../guides/#{unquote(guide)}", __DIR__)
      assert Foundation.Guide.run(path) >= unquote(least)
    end
  end
end
