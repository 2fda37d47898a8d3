defmodule Foundation.Contract.ApiSurfaceTest do
  # The whole 1.x API by name: one test a module of fixtures/api_1x.txt.
  use ExUnit.Case, async: true

  @fixture Path.join(__DIR__, "fixtures/api_1x.txt")
  @external_resource @fixture

  modules =
    @fixture
    |> File.stream!()
    |> Stream.map(&String.trim/1)
    |> Stream.reject(&(&1 == "" or String.starts_with?(&1, "#")))
    |> Enum.reduce([], fn
      "module " <> name, modules -> [{Module.concat([name]), []} | modules]
      line, [{module, wanted} | rest] -> [{module, [String.split(line) | wanted]} | rest]
    end)

  for {module, wanted} <- modules do
    @module module
    @wanted Enum.reverse(wanted)

    test "#{inspect(module)} has everything of 1.x" do
      assert {:module, @module} = Code.ensure_loaded(@module)
      has = surface(@module)
      missing = Enum.reject(@wanted, &has?(has, &1))
      assert missing == [], "#{inspect(@module)} lacks #{Enum.map_join(missing, ", ", &Enum.join(&1, " "))}"
    end
  end

  test "the list is whole" do
    text = File.read!(@fixture)
    count = fn word -> length(Regex.scan(~r/^ *#{word} /m, text)) end
    assert count.("module") == 34
    assert count.("struct") == 5
    assert count.("callback") == 29
    assert count.("type") == 83
    assert count.("function") + count.("specified") == 352
  end

  test "a missing name is seen" do
    has = surface(Foundation.Utils)
    assert has?(has, ["specified", "blank?/1"])
    refute has?(has, ["specified", "blank?/2"])
    refute has?(has, ["type", "blank/0"])
    refute has?(surface(Foundation.Types.Error), ["struct", "code", "colour"])
    assert has?(surface(Foundation.Types.Error), ["struct", "code"])
    refute has?(surface(Foundation.Contracts.Configurable), ["callback", "get/2"])
  end

  describe "enforced keys" do
    for {module, keys} <- [
          {Foundation.Error, [:code, :error_type, :message, :severity]},
          {Foundation.Types.Error, [:code, :error_type, :message, :severity]},
          {Foundation.Types.Event, [:event_type, :event_id, :timestamp]},
          {Foundation.ErrorContext, [:operation_id, :module, :function, :correlation_id, :start_time]}
        ] do
      test "of #{inspect(module)}" do
        assert_raise ArgumentError, ~r/must also be given/, fn -> struct!(unquote(module), %{}) end

        for key <- unquote(keys) do
          fields = Map.new(unquote(keys) -- [key], &{&1, nil})
          assert_raise ArgumentError, ~r/#{key}/, fn -> struct!(unquote(module), fields) end
        end

        assert struct!(unquote(module), Map.new(unquote(keys), &{&1, nil}))
      end
    end
  end

  for {module, behaviour} <- [
        {Foundation.Config, Foundation.Contracts.Configurable},
        {Foundation.Services.ConfigServer, Foundation.Contracts.Configurable},
        {Foundation.Events, Foundation.Contracts.EventStore},
        {Foundation.Services.EventStore, Foundation.Contracts.EventStore},
        {Foundation.Services.TelemetryService, Foundation.Contracts.Telemetry},
        {Foundation.Types.Config, Access}
      ] do
    test "#{inspect(module)} declares the behaviour #{inspect(behaviour)}" do
      declared = for {:behaviour, list} <- unquote(module).module_info(:attributes), one <- list, do: one
      assert unquote(behaviour) in declared
    end
  end

  defp surface(module) do
    %{
      functions: name_arity(module.module_info(:exports)),
      specs: fetch(&Code.Typespec.fetch_specs/1, module),
      callbacks: fetch(&Code.Typespec.fetch_callbacks/1, module),
      types: types(module),
      fields: if(function_exported?(module, :__struct__, 0), do: Map.keys(module.__struct__()), else: [])
    }
  end

  defp fetch(fun, module) do
    {:ok, list} = fun.(module)
    list |> Enum.map(&elem(&1, 0)) |> name_arity()
  end

  defp types(module) do
    {:ok, list} = Code.Typespec.fetch_types(module)

    for {kind, {name, _, args}} <- list,
        kind in [:type, :opaque],
        into: MapSet.new(),
        do: "#{name}/#{length(args)}"
  end

  defp name_arity(list), do: MapSet.new(list, fn {name, arity} -> "#{name}/#{arity}" end)

  defp has?(has, ["function", name]), do: name in has.functions
  defp has?(has, ["specified", name]), do: name in has.functions and name in has.specs
  defp has?(has, ["callback", name]), do: name in has.callbacks
  defp has?(has, ["type", name]), do: name in has.types

  defp has?(has, ["struct" | fields]),
    do: has.fields != [] and Enum.all?(fields, &(&1 in Enum.map(has.fields, fn f -> Atom.to_string(f) end)))
end
