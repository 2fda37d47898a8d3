defmodule Foundation.ProtectionGuideTest do
  use ExUnit.Case, async: false

  test "the guide's code does what the guide says" do
    assert Foundation.Guide.run("guides/protection.md") >= 4
  end
end
