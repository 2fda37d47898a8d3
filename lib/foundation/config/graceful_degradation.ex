defmodule Foundation.Config.GracefulDegradation do
  @moduledoc """
  Answers from what was read before, and keeps updates for later, while the configuration service is away.

  The table belongs to the process that called `initialize_fallback_system/0` and goes when it does; the other
  functions need it. A cached value answers for 300 seconds.
  """

  alias Foundation.Config
  alias Foundation.Types.Error

  require Logger

  @table :config_fallback_cache
  @ttl_seconds 300

  @doc "Makes the table unless it exists; it is owned by the caller."
  @spec initialize_fallback_system() :: :ok
  def initialize_fallback_system do
    if :ets.whereis(@table) == :undefined do
      :ets.new(@table, [:named_table, :public, :set, read_concurrency: true])
    end

    :ok
  end

  @doc "Deletes the table; `:ok` also when there is none."
  @spec cleanup_fallback_system() :: :ok
  def cleanup_fallback_system do
    if :ets.whereis(@table) != :undefined, do: :ets.delete(@table)
    :ok
  rescue
    # Another process deleted it in between.
    ArgumentError -> :ok
  end

  @doc """
  As `Foundation.Config.get/1`, and remembers the value; on an error the remembered one, while it is young
  enough, else `:config_unavailable`.
  """
  @spec get_with_fallback(Config.config_path()) :: {:ok, term} | {:error, Error.t()}
  def get_with_fallback(path) when is_list(path) do
    case Config.get(path) do
      {:ok, value} ->
        :ets.insert(@table, {{:config_cache, path}, value, System.system_time(:second)})
        {:ok, value}

      {:error, _} ->
        remembered(path)
    end
  end

  @doc "As `Foundation.Config.update/2`; an update that fails is kept for `retry_pending_updates/0`."
  @spec update_with_fallback(Config.config_path(), term) :: :ok | {:error, Error.t()}
  def update_with_fallback(path, value) when is_list(path) do
    case Config.update(path, value) do
      :ok ->
        :ets.delete(@table, {:pending_update, path})
        :ok

      {:error, reason} ->
        :ets.insert(@table, {{:pending_update, path}, value, System.system_time(:second)})
        Logger.warning("Config update failed and is kept as pending: #{inspect(path)}")
        {:error, reason}
    end
  end

  @doc "Tries each pending update again; those that succeed are pending no longer."
  @spec retry_pending_updates() :: :ok
  def retry_pending_updates do
    for {path, value} <-
          :ets.select(@table, [{{{:pending_update, :"$1"}, :"$2", :_}, [], [{{:"$1", :"$2"}}]}]),
        Config.update(path, value) == :ok do
      :ets.delete(@table, {:pending_update, path})
    end

    :ok
  end

  @doc "Deletes every entry that is older than 300 seconds, pending updates included."
  @spec cleanup_expired_cache() :: :ok
  def cleanup_expired_cache do
    oldest = System.system_time(:second) - @ttl_seconds
    :ets.select_delete(@table, [{{:_, :_, :"$1"}, [{:<, :"$1", oldest}], [true]}])
    :ok
  end

  @doc """
  `total_entries`, `memory_words`, `config_cache_entries` and `pending_update_entries`; without the table
  `%{error: :table_not_found}`.
  """
  @spec get_cache_stats() :: map
  def get_cache_stats do
    %{
      total_entries: :ets.info(@table, :size),
      memory_words: :ets.info(@table, :memory),
      config_cache_entries: count(:config_cache),
      pending_update_entries: count(:pending_update)
    }
  rescue
    ArgumentError -> %{error: :table_not_found}
  end

  defp count(kind), do: :ets.select_count(@table, [{{{kind, :_}, :_, :_}, [], [true]}])

  defp remembered(path) do
    key = {:config_cache, path}

    case :ets.lookup(@table, key) do
      [{_, value, at}] ->
        if System.system_time(:second) - at <= @ttl_seconds do
          {:ok, value}
        else
          :ets.delete(@table, key)
          unavailable(path, "Configuration cache expired")
        end

      [] ->
        unavailable(path, "Configuration not available")
    end
  end

  defp unavailable(path, message) do
    {:error,
     Error.new(
       error_type: :config_unavailable,
       message: message,
       context: %{path: path},
       category: :config,
       subcategory: :access,
       severity: :medium
     )}
  end
end
