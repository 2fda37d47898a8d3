defmodule Foundation.Infrastructure.Limits.Shared do
  @moduledoc false
  # What of limits that are shared by the cluster stands on this floor: the module above that leases them, which puts itself
  # here, and the hint to it that somebody was refused.

  @table :foundation_shared_limits

  @doc "The table of shared keys: {key, flag, anything}. The flag is set when the lessor was told."
  @spec table() :: atom
  def table, do: @table

  @doc "The shared keys, with what stands there."
  @spec settings() :: [{term, term}]
  def settings, do: for({key, _flag, settings} <- :ets.tab2list(@table), do: {key, settings})

  @doc "The most nodes that were ever seen, those seen now included: what divides the limit where a node is on its own."
  @spec most(pos_integer) :: pos_integer
  def most(now \\ 1) do
    before = for {_, most} <- :ets.lookup(@table, __MODULE__), do: most
    most = Enum.max([now | before])
    :ets.insert(@table, {__MODULE__, most})
    most
  end

  @doc "Puts the module that shares limits: `share/3`."
  @spec put(module) :: :ok
  def put(module), do: :persistent_term.put(__MODULE__, module)

  @doc "Sets limits that the cluster shares."
  @spec share(term, term, keyword | map) :: :ok | {:error, term}
  def share(key, limits, opts) do
    case :persistent_term.get(__MODULE__, nil) do
      nil -> {:error, :not_running}
      module -> module.share(key, limits, opts)
    end
  end

  @doc "Tells the lessor of a refusal, once until it has looked. Gives the answer back."
  @spec hint(answer) :: answer when answer: term
  def hint({:error, {:limited, %{key: key}}} = answer) do
    if :ets.whereis(@table) != :undefined, do: wanted(key)
    answer
  end

  def hint(answer), do: answer

  defp wanted(key) do
    with [{_, flag, _}] <- :ets.lookup(@table, key),
         0 <- :atomics.exchange(flag, 1, 1),
         pid when pid != nil <- Process.whereis(@table),
         do: send(pid, {:wanted, key})
  rescue
    # The table went in between.
    ArgumentError -> :ok
  end
end
