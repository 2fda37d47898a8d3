defmodule Foundation.MABEAM.TypesTest do
  use ExUnit.Case, async: true

  alias Foundation.MABEAM.Types
  alias Foundation.MABEAM.Types.{AgentSpec, Outcome, Request, Variable}

  doctest Types
  doctest Types.Request
  doctest Types.Variable

  describe "AgentSpec" do
    test "says which field is wrong" do
      for {field, value} <- [
            id: nil,
            id: 7,
            id: "",
            module: "x",
            args: self(),
            args: [fn -> 1 end],
            type: 1,
            capabilities: [:a | :b],
            capabilities: ["a"],
            restart: :sometimes,
            max_restarts: -1,
            restart_window: 0,
            backoff: {10, 5},
            resources: %{tokens: -1},
            resources: %{tokens: 1.5},
            resources: %{gold: 1},
            resources: %{money: 2 ** 70},
            max_mailbox: 0,
            callback_timeout: -5,
            max_failures: 0,
            snapshot_every: 0,
            metadata: %{pid: self()},
            metadata: [1]
          ] do
        attributes = Keyword.merge([id: :a, module: A], [{field, value}])
        assert {:error, {:invalid, %{field: ^field, value: ^value}}} = AgentSpec.new(attributes)
        assert_raise ArgumentError, ~r/#{field} must be/, fn -> AgentSpec.new!(attributes) end
      end

      assert {:error, {:invalid, %{field: :attributes, value: :nonsense}}} =
               AgentSpec.new(id: :a, module: A, nonsense: 1)

      assert {:error, {:invalid, %{field: :attributes}}} = AgentSpec.new([1 | 2])
      assert {:error, {:invalid, %{field: :module}}} = AgentSpec.new(%{id: :a})
    end

    test "survives the external format" do
      spec = AgentSpec.new!(id: "a", module: A, args: %{deep: [{1, "x"}]}, resources: %{tokens: 5})
      assert spec |> :erlang.term_to_binary() |> :erlang.binary_to_term([:safe]) == spec
    end
  end

  describe "Variable" do
    test "begins with what its type says" do
      for {attributes, value} <- [
            {[], nil},
            {[type: :choice, options: [:a, :b]], :a},
            {[type: :numeric, min: 3], 3},
            {[type: :numeric, max: -2], -2},
            {[type: :numeric], 0},
            {[type: :allocation], %{}},
            {[type: :topology], %{}}
          ] do
        assert {:ok, %{value: ^value}} = Variable.new([name: :v] ++ attributes)
      end
    end

    test "refuses values that it may not hold, at the start and later" do
      for {attributes, good, bad} <- [
            {[type: :choice, options: [1, 2]], 2, 1.0},
            {[type: :numeric, min: 0, max: 1], 0.5, 2},
            {[type: :numeric], 5, :nan},
            {[type: :allocation, total: 10], %{a: 4, b: 6}, %{a: 5, b: 6}},
            {[type: :allocation], %{a: 4}, %{a: -1}},
            {[type: :allocation], %{a: 4}, %{a: 1.5}},
            {[type: :topology], %{a: [:b], b: []}, %{a: [:b]}},
            {[type: :topology], %{}, %{a: [:a | :a]}},
            {[], {1, "x"}, self()}
          ] do
        variable = Variable.new!([name: :v] ++ attributes)
        assert :ok = Variable.check(variable, good)
        assert {:error, {:invalid, %{field: :value}}} = Variable.check(variable, bad)
        assert {:error, {:invalid, %{field: :value}}} = Variable.new([name: :v, value: bad] ++ attributes)
      end
    end

    test "refuses attributes that make no sense together" do
      assert {:error, {:invalid, %{field: :options}}} = Variable.new(name: :v, type: :choice)
      assert {:error, {:invalid, %{field: :max}}} = Variable.new(name: :v, type: :numeric, min: 2, max: 1)
      assert {:error, {:invalid, %{field: :min}}} = Variable.new(name: :v, min: 2)
      assert {:error, {:invalid, %{field: :conflict}}} = Variable.new(name: :v, conflict: :fight)
      assert {:error, {:invalid, %{field: :access}}} = Variable.new(name: :v, access: {:agents, :all})
    end
  end

  test "Request takes pairs, and payloads that fit" do
    assert {:ok, %Request{kind: :vote, payload: 1}} = Request.new({:vote, 1})
    assert {:error, {:invalid, %{field: :kind}}} = Request.new({:order, 1})
    assert {:error, {:invalid, %{field: :payload}}} = Request.new({:variable, 1})
  end

  test "Outcome checks what it is given" do
    assert {:ok, %Outcome{rounds: 0}} = Outcome.new(protocol: :p, participants: [:a])

    assert {:error, {:invalid, %{field: :confidence}}} =
             Outcome.new(protocol: :p, participants: [], confidence: 2)
  end
end
