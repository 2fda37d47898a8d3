defmodule Foundation.MABEAM.OwnProtocolGuideTest do
  use ExUnit.Case, async: false

  setup do
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  test "the guide's code does what the guide says" do
    assert Foundation.Guide.run("guides/own_protocol.md") == 11
  end
end
