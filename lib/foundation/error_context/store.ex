defmodule Foundation.ErrorContext.Store do
  @moduledoc false
  # Owns the table that steps are recorded in, so that what a process recorded outlives it.
  #
  # Rows, all of one ordered set:
  #   :traces             {key, traces, bytes, nil}
  #   {trace, 0, 0}       {key, entries, dropped, root, bytes}
  #   {trace, step, 0}    {key, step map}
  #   {trace, step, n}    {key, {name, value}}: the n-th entry of the trace, captured in the step
  #
  # Traces are numbered in the order they began, so the first key is the oldest. The recording processes
  # themselves write and drop; the server only owns.

  use GenServer

  @table __MODULE__
  @defaults [max_traces: 1_000, max_entries: 1_000, max_bytes: 64 * 1024 * 1024, max_value_bytes: 4_096]

  @doc "A bound, from `config :foundation, error_context: [...]`."
  @spec limit(atom) :: pos_integer
  def limit(name), do: configured(name, Keyword.fetch!(@defaults, name))

  @doc "An option of `config :foundation, error_context: [...]`."
  @spec configured(atom, term) :: term
  def configured(name, default) do
    case Application.get_env(:foundation, :error_context) do
      nil -> default
      options -> Keyword.get(options, name, default)
    end
  end

  def start_link(_opts), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  @doc "Makes sure the trace has its row; false when the store is not there."
  @spec begin(pos_integer, (() -> map)) :: boolean
  def begin(trace, root) do
    if not :ets.member(@table, {trace, 0, 0}) and :ets.insert_new(@table, {{trace, 0, 0}, 0, 0, root.(), 0}) do
      [traces, bytes] = :ets.update_counter(@table, :traces, [{2, 1}, {3, 0}])
      if traces > limit(:max_traces) or bytes > limit(:max_bytes), do: drop_oldest(trace)
    end

    true
  rescue
    ArgumentError -> false
  end

  @doc "The number of the trace's next entry, or nil when it may have no more (that is counted) or is gone."
  @spec next(pos_integer) :: pos_integer | nil
  def next(trace) do
    number = :ets.update_counter(@table, {trace, 0, 0}, {2, 1})

    if number > limit(:max_entries) do
      :ets.update_counter(@table, {trace, 0, 0}, {3, 1})
      nil
    else
      number
    end
  rescue
    ArgumentError -> nil
  end

  @doc "Writes a row of a trace, which takes about that many bytes more."
  @spec put({pos_integer, non_neg_integer, non_neg_integer}, term, non_neg_integer) :: :ok
  def put({trace, _, _} = key, value, bytes) do
    # First the counts: a trace that was dropped meanwhile has none, and gets no more rows.
    :ets.update_counter(@table, {trace, 0, 0}, {5, bytes})
    :ets.update_counter(@table, :traces, {3, bytes})
    :ets.insert(@table, {key, value})
    :ok
  rescue
    ArgumentError -> :ok
  end

  @doc "The trace's own row and then its others in order; none when it is unknown."
  @spec rows(pos_integer) :: [tuple]
  def rows(trace) do
    case :ets.lookup(@table, {trace, 0, 0}) do
      [root] -> [root | :ets.select(@table, [{{{trace, :_, :_}, :_}, [], [:"$_"]}])]
      [] -> []
    end
  rescue
    ArgumentError -> []
  end

  @impl true
  def init(_opts) do
    :ets.new(@table, [:ordered_set, :public, :named_table, write_concurrency: true])
    :ets.insert(@table, {:traces, 0, 0, nil})
    {:ok, nil}
  end

  # Down to nine tenths of the bounds, as each look costs; never the one that is about to begin.
  defp drop_oldest(spared) do
    [traces, bytes] = :ets.update_counter(@table, :traces, [{2, 0}, {3, 0}])

    with true <- traces > limit(:max_traces) * 0.9 or bytes > limit(:max_bytes) * 0.9,
         {trace, _, _} when trace != spared <- :ets.next(@table, :traces) do
      drop(trace)
      drop_oldest(spared)
    else
      _ -> :ok
    end
  end

  defp drop(trace) do
    case :ets.take(@table, {trace, 0, 0}) do
      [{_, _, _, _, bytes}] -> :ets.update_counter(@table, :traces, [{2, -1}, {3, -bytes}])
      [] -> :ok
    end

    :ets.match_delete(@table, {{trace, :_, :_}, :_})
  end
end
