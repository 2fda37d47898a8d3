defmodule Foundation.MABEAM.Comms.Seen do
  @moduledoc false
  # The answers to requests that had a correlation id, for a minute, so that one that is sent again is not done again.
  # Agents write; the keeper (Foundation.MABEAM.Sweeper) takes away what is old.

  @table Foundation.MABEAM.Comms.Seen
  @keep_ms 60_000
  @most 100_000

  def create, do: :ets.new(@table, [:named_table, :public, read_concurrency: true, write_concurrency: true])

  @doc "The answer that was given, or `:new`; `{:error, :busy}` when no more answers can be kept."
  @spec answer(term) :: {:ok, term} | :new | {:error, :busy}
  def answer(key) do
    case :ets.lookup(@table, key) do
      [{_key, answer, _until}] -> {:ok, answer}
      [] -> if :ets.info(@table, :size) < @most, do: :new, else: {:error, :busy}
    end
  end

  @spec keep(term, term) :: true
  def keep(key, answer), do: :ets.insert(@table, {key, answer, now() + @keep_ms})

  @spec sweep() :: non_neg_integer
  def sweep, do: :ets.select_delete(@table, [{{:_, :_, :"$1"}, [{:<, :"$1", now()}], [true]}])

  defp now, do: System.monotonic_time(:millisecond)
end
