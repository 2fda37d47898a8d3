defmodule Foundation.ServiceMesh.OutliersTest do
  use ExUnit.Case, async: true

  alias Foundation.ServiceMesh.Outliers

  @outlier %{min_calls: 20, min_providers: 3, deviations: 1.9}

  test "who fails far more often than the others, among enough of them with enough calls" do
    assert Outliers.below([], @outlier) == []
    good = for n <- 1..9, do: {n, 99, 100}
    assert Outliers.below([{:bad, 50, 100} | good], @outlier) == [:bad]
    # Too few calls, or too few others, say nothing.
    assert Outliers.below([{:bad, 5, 10} | good], @outlier) == []
    assert Outliers.below([{:bad, 50, 100}, {1, 99, 100}], @outlier) == []
    # All alike.
    assert Outliers.below(for(n <- 1..5, do: {n, 30, 100}), @outlier) == []
  end
end
