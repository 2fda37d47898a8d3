defmodule Foundation.MABEAM.ArgumentsTest do
  use ExUnit.Case, async: true

  alias Foundation.MABEAM.Arguments

  @accepted [flag: [true, false], ms: [1..10], quorum: [nil, :all, {:from, 1}]]

  test "agents are a list of at least one id, and count once" do
    assert Arguments.agents!([:b, "a", :b]) == [:b, "a"]

    for wrong <- [[], [:a | :b], [:a, nil], [:a, 1], :a, %{a: 1}, nil] do
      assert_raise ArgumentError, ~r/^agents must be a list of at least one agent id, got: /, fn ->
        Arguments.agents!(wrong)
      end
    end
  end

  test "options have the names and the values that are accepted" do
    for opts <- [[], [flag: true], [ms: 1, quorum: nil], [ms: 10, quorum: :all], [quorum: 2 ** 70]],
        do: assert(Arguments.options!(opts, @accepted) == opts)

    assert_raise ArgumentError, "ms: must be a whole number from 1 to 10, got: 11", fn ->
      Arguments.options!([flag: true, ms: 11], @accepted)
    end

    assert_raise ArgumentError, "quorum: must be nil or :all or a whole number from 1, got: 0", fn ->
      Arguments.options!([quorum: 0], @accepted)
    end

    assert_raise ArgumentError, "unknown option :mss, known are [:flag, :ms, :quorum]", fn ->
      Arguments.options!([mss: 1], @accepted)
    end

    for wrong <- [[ms: 1.0], [ms: "1"], [flag: nil], [flag: 1], [quorum: :most]],
        do: assert_raise(ArgumentError, ~r/must be/, fn -> Arguments.options!(wrong, @accepted) end)

    # Of several values of one name each is looked at.
    assert_raise ArgumentError, ~r/ms: must be/, fn -> Arguments.options!([ms: 1, ms: 0], @accepted) end
  end

  test "options are a keyword list" do
    for wrong <- [nil, %{ms: 1}, [:ms], [{"ms", 1}], [{:ms, 1} | :more]] do
      assert_raise ArgumentError, ~r/^options must be a keyword list, got: /, fn ->
        Arguments.known!(wrong, [:ms])
      end
    end
  end
end
