defmodule Foundation.ErrorContext.Store do
  @moduledoc false
  # Owns the table that steps are recorded in, so that what a process recorded outlives it.
  #
  # Rows, all of one ordered set:
  #   :traces                  {key, traces, 0, nil}
  #   {trace, 0, 0}            {key, entries, dropped, root}
  #   {trace, step, 0}         {key, 0, 0, step map}
  #   {trace, step, n}         {key, 0, 0, {name, value}}: the n-th entry of the trace, captured in the step
  #
  # Traces are numbered in the order they began, so the first key is the oldest. The recording processes themselves
  # write and drop; the server only owns.

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
    if not :ets.member(@table, {trace, 0, 0}) and :ets.insert_new(@table, {{trace, 0, 0}, 0, 0, root.()}) do
      traces = :ets.update_counter(@table, :traces, 1)
      if traces > limit(:max_traces) or bytes() > limit(:max_bytes), do: drop_oldest(trace)
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

  @doc "Writes a row of a trace."
  @spec put(tuple, term) :: :ok
  def put(key, value) do
    :ets.insert(@table, {key, 0, 0, value})
    :ok
  rescue
    ArgumentError -> :ok
  end

  @doc "All rows of a trace in order; none when it is unknown."
  @spec rows(pos_integer) :: [tuple]
  def rows(trace) do
    :ets.select(@table, [{{{trace, :_, :_}, :_, :_, :_}, [], [:"$_"]}])
  rescue
    ArgumentError -> []
  end

  @impl true
  def init(_opts) do
    :ets.new(@table, [:ordered_set, :public, :named_table, write_concurrency: true])
    :ets.insert(@table, {:traces, 0, 0, nil})
    {:ok, nil}
  end

  # A tenth at a time, as each look costs; never the one that is about to begin.
  defp drop_oldest(spared) do
    Enum.each(1..max(1, div(limit(:max_traces), 10)), fn _ ->
      case :ets.next(@table, :traces) do
        {trace, _, _} when trace != spared -> drop(trace)
        _ -> :ok
      end
    end)
  end

  defp drop(trace) do
    if :ets.take(@table, {trace, 0, 0}) != [], do: :ets.update_counter(@table, :traces, -1)
    :ets.match_delete(@table, {{trace, :_, :_}, :_, :_, :_})
  end

  defp bytes, do: :ets.info(@table, :memory) * :erlang.system_info(:wordsize)
end
