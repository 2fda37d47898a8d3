defmodule Foundation.ConfigPropertyTest do
  # Updates and rollbacks against a naive model: a list of all configurations there have been.
  use ExUnit.Case, async: true

  alias Foundation.Config.{Change, Guard}
  alias Foundation.ConfigSchemas.Numbers
  alias Foundation.Logic.ConfigLogic
  alias Foundation.Services.ConfigServer
  alias Foundation.Types.Config

  @runs 150

  defp check(property, runs \\ @runs) do
    assert :proper.quickcheck(property, [:quiet, numtests: runs]) == true, inspect(:proper.counterexample())
  end

  # {path, value}: most fit, some do not.
  defp pair do
    int = :proper_types.integer(-120, 120)

    :proper_types.oneof([
      :proper_types.tuple([[:numbers, :a], int]),
      :proper_types.tuple([[:numbers, :b], int]),
      :proper_types.tuple([[:numbers, :c], :proper_types.oneof([int, "text", :atom])]),
      :proper_types.tuple([[:numbers, :even], int]),
      :proper_types.tuple([[:interface, :max_results], int]),
      :proper_types.tuple([[:dev, :debug_mode], :proper_types.oneof([true, false, 0])]),
      :proper_types.tuple([[:ai, :planning, :sampling_rate], :proper_types.float(-0.2, 1.2)])
    ])
  end

  defp operation do
    :proper_types.frequency([
      {6, :proper_types.tuple([:update, :proper_types.list(pair())])},
      {2, :proper_types.tuple([:rollback, :proper_types.integer(0, 30)])},
      {1, :proper_types.tuple([:reset])}
    ])
  end

  # What the rules say, written out once more.
  defp valid?(%{numbers: n, interface: i, dev: d, ai: ai}) do
    rate = ai.planning.sampling_rate

    n.a in -100..100 and n.b in -100..100 and (is_integer(n.c) or is_binary(n.c)) and rem(n.even, 2) == 0 and
      is_integer(i.max_results) and i.max_results > 0 and is_boolean(d.debug_mode) and rate >= 0 and rate <= 1
  end

  defp apply_model(config, pairs),
    do: Enum.reduce(pairs, config, fn {path, value}, acc -> put_in(acc, path, value) end)

  test "the server does what the model does: all or nothing, every version can be brought back" do
    check(
      :proper.forall(:proper_types.list(operation()), fn operations ->
        {:ok, pid} = ConfigServer.start_link(namespace: {:test, make_ref()})
        :ok = GenServer.call(pid, {:register_schema, Numbers})
        {:ok, start} = whole(pid)
        # Newest first; the version of the head is the length of the list.
        result = run(pid, operations, [start, start])
        GenServer.stop(pid)
        result
      end)
    )
  end

  defp run(_pid, [], _versions), do: true

  defp run(pid, [operation | rest], [now | _] = versions) do
    {expected, versions} = model(operation, now, versions)
    answer = ask(pid, operation)
    {:ok, config} = whole(pid)

    agrees? =
      if expected == :error, do: match?({:error, _}, answer), else: match?({:ok, _}, answer) or answer == :ok

    agrees? and config == hd(versions) and valid?(config) and run(pid, rest, versions)
  end

  defp whole(pid) do
    with {:ok, config} <- GenServer.call(pid, :get_config),
         {:ok, numbers} <- GenServer.call(pid, {:get_config_path, [:numbers]}),
         do: {:ok, Map.put(config, :numbers, numbers)}
  end

  defp ask(pid, {:update, pairs}), do: GenServer.call(pid, {:validate_and_update, pairs, []})
  defp ask(pid, {:rollback, version}), do: GenServer.call(pid, {:rollback, version})
  defp ask(pid, {:reset}), do: GenServer.call(pid, :reset_config)

  defp model({:update, pairs}, now, versions) do
    next = apply_model(now, pairs)
    if valid?(next), do: {:ok, [next | versions]}, else: {:error, versions}
  end

  defp model({:reset}, _now, versions) do
    {:ok, [Map.put(Config.new(), :numbers, Numbers.defaults()) | versions]}
  end

  defp model({:rollback, version}, now, versions) do
    case Enum.at(Enum.reverse(versions), version) do
      nil -> {:error, versions}
      ^now -> {:ok, versions}
      # Going back over the registration keeps the section, with the values it began with.
      past -> {:ok, [past | versions]}
    end
  end

  test "a diff, applied, leads from one configuration to the other, and undone, back" do
    check(
      :proper.forall({:proper_types.list(pair()), :proper_types.list(pair())}, fn {one, two} ->
        base = Map.put(Config.new(), :numbers, Numbers.defaults())
        old = apply_model(base, one)
        new = apply_model(base, two)
        changes = Change.diff(old, new)

        Change.apply_all(old, changes) == new and Change.undo_all(new, changes) == old and
          Change.diff(old, old) == []
      end)
    )
  end

  test "reading by the snapshot's walk and by the logic agree, for any path" do
    part =
      :proper_types.frequency([
        {4,
         :proper_types.oneof([
           :ai,
           :planning,
           :dev,
           :debug_mode,
           :infrastructure,
           :rate_limiting,
           :default_rules
         ])},
        {1, :proper_types.oneof([:__struct__, System, "ai", "../", 5, :no_such, Kernel])}
      ])

    {:ok, config} = Foundation.Config.get()
    assert Guard.sealed?(config)

    check(
      :proper.forall(:proper_types.list(part), fn path ->
        same?(Foundation.Config.get(path), ConfigLogic.get_config_value(config, path))
      end),
      1_000
    )
  end

  defp same?({:ok, value}, {:ok, value}), do: true
  defp same?({:error, a}, {:error, b}), do: %{a | timestamp: nil} == %{b | timestamp: nil}
  defp same?(_, _), do: false
end
