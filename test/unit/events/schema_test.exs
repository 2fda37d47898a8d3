defmodule Foundation.Events.SchemaTest do
  use Foundation.EventCase, async: false

  setup do
    on_exit(&Foundation.Events.Schema.erase/0)
  end

  defp problems(data) do
    case Events.store(event(1, event_type: :checked, data: data)) do
      {:ok, 1} -> []
      {:error, %Error{code: 2001, error_type: :validation_failed, context: context}} -> context.problems
    end
  end

  test "types, required, nested, unknown" do
    :ok =
      Events.register_event_schema(:checked,
        fields: [
          amount: [type: :number, required: true],
          currency: {:in, ["EUR", "USD"]},
          items: {:list, :string},
          at: {:struct, DateTime},
          payer: [required: true, fields: %{"name" => [type: :string, required: true]}, unknown: :reject]
        ],
        unknown: :reject
      )

    good = %{amount: 1.5, payer: %{"name" => "x"}}
    assert problems(good) == []
    assert problems(Map.merge(good, %{currency: "EUR", items: ["a"], at: DateTime.utc_now()})) == []
    assert problems(%{good | amount: "1"}) == [%{path: [:amount], problem: {:expected, :number}}]
    assert problems(Map.delete(good, :amount)) == [%{path: [:amount], problem: :required}]

    assert problems(Map.put(good, :currency, "GBP")) == [
             %{path: [:currency], problem: {:expected, {:in, ["EUR", "USD"]}}}
           ]

    assert problems(Map.put(good, :items, ["a" | :b])) == [
             %{path: [:items], problem: {:expected, {:list, :string}}}
           ]

    assert problems(Map.put(good, :extra, 1)) == [%{path: [:extra], problem: :unknown_field}]
    assert problems(%{good | payer: %{}}) == [%{path: [:payer, "name"], problem: :required}]

    assert problems(%{good | payer: %{"name" => "x", z: 1}}) == [
             %{path: [:payer, :z], problem: :unknown_field}
           ]

    assert problems("no map") == [%{path: [], problem: :not_a_map}]
    # Other types are free, and a batch with one bad event stores none.
    assert {:ok, 2} = Events.store(event(2, data: "free"))

    assert {:error, %Error{code: 2001}} =
             Events.store_batch([event(3), event(4, event_type: :checked, data: 1)])

    assert {:error, %Error{code: 3001}} = Events.get(3)
    assert :ok = Events.unregister_event_schema(:checked)
    assert problems("no map") == []
  end

  test "a schema that makes no sense" do
    for {schema, text} <- [
          {:no, "expected"},
          {[fields: :no], "fields:"},
          {[fields: [a: :no_type]], "a: there is no type :no_type"},
          {[fields: [a: [typ: :any]]], "a: there is no option :typ"},
          {[fields: [a: [fields: [b: {:list, :no}]]]], "a.b: there is no type"},
          {[unknown: :maybe], "unknown:"},
          {[field: []], "no option :field"}
        ] do
      assert {:error, {:invalid_schema, message}} = Events.register_event_schema(:checked, schema)
      assert message =~ text
    end
  end
end
