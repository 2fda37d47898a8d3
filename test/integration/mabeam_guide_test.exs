defmodule Foundation.MABEAM.GuideTest do
  use ExUnit.Case, async: false

  setup do
    on_exit(&Foundation.MABEAM.stop/0)
  end

  test "the guide's code does what the guide says" do
    assert Foundation.Guide.run("guides/mabeam.md") == 22
  end
end
