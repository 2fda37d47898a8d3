defmodule Foundation.HostileTermsTest do
  # Every argument of every native function is replaced by terms that have no business there. Whatever comes back, it
  # comes back: as a value, or as ArgumentError.
  use ExUnit.Case, async: false

  alias Foundation.{Native, NifCatalog}

  @timeout 30_000

  defp hostile do
    %{
      "improper list" => [1, 2 | 3],
      "improper list of pairs" => [{:a, 1} | :b],
      "huge integer" => Bitwise.bsl(1, 20_000),
      "negative huge integer" => -Bitwise.bsl(1, 20_000),
      "largest i64" => 9_223_372_036_854_775_807,
      "smallest i64" => -9_223_372_036_854_775_808,
      "largest u64" => 18_446_744_073_709_551_615,
      "minus one" => -1,
      "zero" => 0,
      "largest float" => 1.7976931348623157e308,
      "smallest float" => 5.0e-324,
      "negative zero" => -0.0,
      "empty list" => [],
      "empty map" => %{},
      "empty tuple" => {},
      "empty binary" => "",
      "huge binary" => :binary.copy("x", 8_000_000),
      "invalid utf-8" => <<255, 254, 0>>,
      "nul bytes" => <<0, 0, 0>>,
      "bit string" => <<1::7>>,
      "deep list" => Enum.reduce(1..10_000, [], fn _, acc -> [acc] end),
      "deep tuple" => Enum.reduce(1..10_000, {}, fn _, acc -> {acc} end),
      "deep map" => Enum.reduce(1..10_000, %{}, fn _, acc -> %{a: acc} end),
      "long list" => Enum.to_list(1..200_000),
      "big map" => Map.new(1..5_000, &{&1, &1}),
      "map of odd keys" => %{1.5 => {}, self() => [], make_ref() => %{}},
      "pid" => self(),
      "reference" => make_ref(),
      "function" => &Function.identity/1,
      "charlist" => ~c"text",
      "struct" => %URI{},
      "atom" => :no_such_thing,
      "nil" => nil,
      "truncated external term" => binary_part(:erlang.term_to_binary({:a, "bcdef", [1, 2, 3]}), 0, 12),
      "lying external term" => <<131, 108, 255, 255, 255, 255, 97, 1>>
    }
  end

  for %{nif: {name, arity}} = entry <- NifCatalog.entries(), arity > 0, not Map.get(entry, :skip, false) do
    @tag nif: {name, arity}, timeout: 120_000
    test "#{name}/#{arity} takes anything", %{nif: nif} do
      %{nif: {name, arity}, args: args} = Enum.find(NifCatalog.entries(), &(&1.nif == nif))

      for position <- 0..(arity - 1), {what, term} <- hostile() do
        outcome = attempt(name, List.replace_at(args.(), position, term))
        assert outcome == :survived, "#{name}, argument #{position}, #{what}: #{inspect(outcome, limit: 5)}"
      end

      # The library and the data behind it are still in order.
      assert attempt(name, args.()) == :survived
      assert Native.engine_key_roundtrip(:ok) == :ok
    end
  end

  test "all arguments wrong at once" do
    for %{nif: {name, arity}} = entry <- NifCatalog.entries(),
        arity > 0,
        !entry[:skip],
        {what, term} <- hostile() do
      outcome = attempt(name, List.duplicate(term, arity))
      assert outcome == :survived, "#{name}, #{what}: #{inspect(outcome, limit: 5)}"
    end
  end

  # In a process of its own: a function that keeps hold of its caller must not keep hold of the test.
  defp attempt(name, args) do
    {pid, ref} =
      spawn_monitor(fn ->
        exit(
          try do
            apply(Native, name, args)
            :survived
          rescue
            ArgumentError -> :survived
            error -> {:raised, error}
          end
        )
      end)

    receive do
      {:DOWN, ^ref, :process, ^pid, reason} -> reason
    after
      @timeout ->
        Process.exit(pid, :kill)
        :hung
    end
  end
end
