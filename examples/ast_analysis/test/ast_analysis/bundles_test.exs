defmodule AstAnalysis.BundlesTest do
  use ExUnit.Case, async: true

  alias AstAnalysis.Bundles

  @market %{
    blocks: %{"a" => 100, "b" => 100, "c" => 100, "d" => 100},
    links: %{"a" => %{"c" => 3}, "c" => %{"a" => 3, "b" => 1}, "b" => %{"c" => 1}},
    share: 300
  }

  test "a bundle grows by what has most to do with it, as far as there is room" do
    assert Bundles.offers(@market, 1, 4) == [
             {["a"], 100},
             {["c", "a"], 200 + 300},
             {["b", "c", "a"], 300 + 400}
           ]
  end

  test "all analysts together begin at every block" do
    starts = for number <- 1..3, {[block], _worth} <- Bundles.offers(@market, number, 3), do: block
    assert Enum.sort(starts) == ["a", "b", "c", "d"]
  end
end
