defmodule Foundation.Infrastructure.ProtectionConfig do
  @moduledoc false
  # What configure_protection/2 was told, in the agent Foundation.Infrastructure.ConfigAgent. The agent is started at the
  # first use, under Foundation's supervisor, and keeps a copy in a table that calls read without asking it.

  alias Foundation.Infrastructure.ConfigAgent

  @table ConfigAgent

  @spec put(term, map) :: :ok | {:error, term}
  def put(key, config) do
    with :ok <- ensure() do
      Agent.update(ConfigAgent, fn configs ->
        :ets.insert(@table, {key, config})
        Map.put(configs, key, config)
      end)
    end
  end

  @doc "O(1), without asking a process."
  @spec get(term) :: {:ok, map} | {:error, :not_found}
  def get(key) do
    case :ets.lookup(@table, key) do
      [{_, config}] -> {:ok, config}
      [] -> {:error, :not_found}
    end
  rescue
    ArgumentError -> {:error, :not_found}
  end

  @spec keys() :: [term]
  def keys do
    case ensure() do
      :ok -> Agent.get(ConfigAgent, &Map.keys/1)
      {:error, _} -> []
    end
  end

  @doc false
  def start_agent do
    Agent.start_link(
      fn ->
        :ets.new(@table, [:named_table, :protected, read_concurrency: true])
        %{}
      end,
      name: ConfigAgent
    )
  end

  defp ensure do
    if Process.whereis(ConfigAgent), do: :ok, else: start()
  end

  defp start do
    case Supervisor.start_child(Foundation.Supervisor, %{
           id: ConfigAgent,
           start: {__MODULE__, :start_agent, []}
         }) do
      {:ok, _pid} -> :ok
      {:error, {:already_started, _pid}} -> :ok
      {:error, :already_present} -> :ok
      {:error, reason} -> {:error, reason}
    end
  catch
    :exit, _ -> {:error, :not_running}
  end

  @doc "Checks a configuration for configure_protection/2."
  @spec check(term) :: :ok | {:error, atom}
  def check(%{circuit_breaker: breaker, rate_limiter: limiter, connection_pool: pool}) do
    cond do
      not has?(breaker, [:failure_threshold, :recovery_time]) -> {:error, :invalid_circuit_breaker_config}
      not has?(limiter, [:scale, :limit]) -> {:error, :invalid_rate_limiter_config}
      not has?(pool, [:size, :max_overflow]) -> {:error, :invalid_connection_pool_config}
      true -> :ok
    end
  end

  def check(config) when is_map(config), do: {:error, :missing_required_keys}
  def check(_config), do: {:error, :invalid_config_format}

  defp has?(map, keys), do: is_map(map) and Enum.all?(keys, &Map.has_key?(map, &1))
end
