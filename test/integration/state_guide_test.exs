defmodule Foundation.StateGuideTest do
  use ExUnit.Case, async: false

  test "the guide's code does what the guide says" do
    assert Foundation.Guide.run("guides/state.md") == 0
  end
end
