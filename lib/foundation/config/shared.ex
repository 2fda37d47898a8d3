defmodule Foundation.Config.Shared do
  @moduledoc false
  # What `Foundation.Config` does for the whole cluster: changes are checked here, agreed on by the coordination group (or
  # spread by a replicated state, for paths that are to be available), and put in force on each node by `Shared.Sync`.

  alias Foundation.Config.{Change, History, Overlay}
  alias Foundation.Config.Shared.{Available, Ledger, Merge, Settings, Store, Sync}
  alias Foundation.Distributed.Consensus.Options
  alias Foundation.Distributed.Partitions
  alias Foundation.Logic.ConfigLogic
  alias Foundation.Services.ConfigServer

  @timeout 5_000
  @poll_ms 50

  # -- changing ------------------------------------------------------------------------------------------------------

  @doc "See `Foundation.Config.set_cluster_wide/3`."
  @spec set([atom], term, keyword) :: {:ok, non_neg_integer} | :ok | {:error, term}
  def set(path, value, options) do
    Options.known!(options, [:consistency, :author, :note, :timeout, :level], "set_cluster_wide")
    settings = Settings.read()

    case options[:consistency] || Settings.consistency(settings, path) do
      :strong -> change([{path, value}], Keyword.drop(options, [:consistency, :level]))
      :available -> spread(path, value, options, settings)
      other -> raise ArgumentError, "consistency: is :strong or :available, got: #{inspect(other)}"
    end
  end

  @doc "Changes several paths at once, by consensus."
  @spec change([{[atom], term}], keyword) :: {:ok, non_neg_integer} | {:error, term}
  def change(pairs, options) do
    Options.known!(options, [:author, :note, :timeout], "a change of the cluster's configuration")
    settings = Settings.read()
    how = how(:update, options, settings)

    commit(options, settings, fn ledger ->
      with {:ok, _config, _changes} <- plan(ledger.values, pairs),
           do: Ledger.advance(ledger, Ledger.put(ledger.values, pairs), how)
    end)
  end

  @doc "Goes back to the values of a version, by consensus."
  @spec rollback(non_neg_integer, keyword) :: {:ok, non_neg_integer} | {:error, term}
  def rollback(version, options) do
    Options.known!(options, [:author, :note, :timeout], "a rollback")
    settings = Settings.read()
    how = how(:rollback, Keyword.put_new(options, :note, version), settings)

    commit(options, settings, fn ledger ->
      with {:ok, values} <- past(ledger, version),
           :ok <- fits(values, ledger.values),
           do: Ledger.advance(ledger, values, how)
    end)
  end

  defp commit(options, settings, function) do
    timeout = timeout!(options)
    deadline = now() + timeout

    with :ok <- Partitions.writable(),
         {:ok, ledger} <- Store.update(settings.group, timeout, function) do
      for path <- Map.keys(ledger.values), do: Available.remove(path)
      # Who has set it reads it, on this node; the others as they hear of it.
      _ = Sync.reach(ledger.version, max(deadline - now(), 1))
      {:ok, ledger.version}
    end
  end

  defp how(kind, options, settings) do
    %{
      kind: kind,
      at: System.os_time(:millisecond),
      author: Keyword.get(options, :author, node()),
      node: node(),
      note: options[:note],
      limit: settings.history
    }
  end

  # What this node has, with all that is agreed on, and the change over that.
  defp plan(values, pairs) do
    with {:ok, config, schemas} <- ConfigServer.present() do
      {config, _refused} = Overlay.laid(config, schemas, values)
      Change.plan(config, schemas, pairs)
    end
  end

  # What stays as it is may be of a section that this node does not know.
  defp fits(values, before) do
    with {:ok, config, schemas} <- ConfigServer.present() do
      {_config, refused} = Overlay.laid(config, schemas, values)

      case Enum.find(Enum.sort(refused), fn {path, _error} -> before[path] != values[path] end) do
        nil -> :ok
        {_path, error} -> {:error, error}
      end
    end
  end

  defp past(ledger, version) do
    with :error <- Ledger.at(ledger, version),
         do: {:error, History.unknown(version, ledger.version, length(ledger.entries))}
  end

  # -- paths that are to be available --------------------------------------------------------------------------------

  defp spread(path, value, options, settings) do
    with {:ok, config, schemas} <- ConfigServer.present(),
         {:ok, _config, _changes} <- Change.plan(config, schemas, [{path, value}]),
         :ok <- Available.ensure(settings),
         :ok <- not_agreed(path, settings),
         :ok <- Available.put(path, value, Keyword.get(options, :author, node()), options) do
      _ = Sync.now(timeout!(options))
      :ok
    end
  end

  # As far as this node knows: what has been agreed on counts more, and this would change nothing.
  defp not_agreed(path, settings) do
    with {:ok, ledger, _} <- Store.fetch(settings.group, :local, @timeout),
         true <- Enum.any?(ledger.values, fn {other, _} -> Overlay.related?(other, path) end),
         do: {:error, {:consistency, :strong}},
         else: (_ -> :ok)
  end

  @doc "See `Foundation.Config.config_conflicts/0`."
  @spec conflicts() :: [map]
  def conflicts, do: for({path, entries} <- pending(), do: %{path: path, values: shown(entries)})

  defp pending, do: Available.all() |> Available.conflicts() |> Enum.sort()

  defp shown(entries), do: Enum.map(entries, &Map.take(&1, [:value, :at, :author, :node]))

  @doc "See `Foundation.Config.resolve_config_conflicts/1`."
  @spec resolve(Merge.strategy()) :: {:ok, [map]} | {:error, term}
  def resolve(strategy) do
    unless strategy in Merge.strategies(),
      do:
        raise(ArgumentError, "a strategy is one of #{inspect(Merge.strategies())}, got: #{inspect(strategy)}")

    with :ok <- Partitions.writable(),
         {:ok, config, schemas} <- ConfigServer.present() do
      resolved = for {path, entries} <- pending(), do: resolve(path, entries, strategy, config, schemas)
      _ = Sync.now(@timeout)

      case Enum.find(resolved, &match?({:error, _}, &1)) do
        nil -> {:ok, resolved}
        error -> error
      end
    end
  end

  # What a merge has come to may break a rule that each of the values keeps: then the latest is taken.
  defp resolve(path, entries, strategy, config, schemas) do
    entry = Merge.resolve(strategy, entries)

    {entry, strategy} =
      case Change.plan(config, schemas, [{path, entry.value}]) do
        {:ok, _, _} -> {entry, strategy}
        {:error, _} -> {Merge.resolve(:timestamp_wins, entries), :timestamp_wins}
      end

    with :ok <- Available.resolve(path, entry),
         do: %{path: path, value: entry.value, by: strategy, values: shown(entries)}
  end

  # -- reading -------------------------------------------------------------------------------------------------------

  @doc "See `Foundation.Config.get_with_consensus/2`."
  @spec get([atom], keyword) :: {:ok, term} | {:error, term}
  def get(path, options) do
    Options.known!(options, [:timeout, :consistency], "get_with_consensus")

    with {:ok, ledger} <- ledger(options) do
      case Ledger.fetch(ledger, path) do
        {:ok, value} -> {:ok, value}
        :error -> if spread?(path), do: {:error, {:consistency, :available}}, else: not_found(path)
      end
    end
  end

  defp spread?(path), do: Available.entries(path) != []
  defp not_found(path), do: {:error, ConfigLogic.not_found(path)}

  @doc "The changes that were agreed on, newest first."
  @spec history(keyword) :: {:ok, [map]} | {:error, term}
  def history(options) do
    {reading, options} = Keyword.split(options, [:timeout, :consistency])

    with {:ok, ledger} <- ledger(reading),
         {:ok, _config, schemas} <- ConfigServer.present(),
         do: {:ok, ledger.entries |> Enum.map(&dated/1) |> History.filter(schemas, options)}
  end

  defp dated(entry), do: %{entry | at: DateTime.from_unix!(entry.at, :millisecond)}

  @doc "The version that was agreed on last."
  @spec version(keyword) :: {:ok, non_neg_integer} | {:error, term}
  def version(options), do: with({:ok, ledger} <- ledger(options), do: {:ok, ledger.version})

  defp ledger(options) do
    consistency = consistency!(Keyword.get(options, :consistency, :linearizable))

    with {:ok, ledger, _version} <- Store.fetch(Settings.read().group, consistency, timeout!(options)),
         do: {:ok, ledger}
  end

  # -- sync ----------------------------------------------------------------------------------------------------------

  @doc "See `Foundation.Config.enable_cluster_wide_sync/0`."
  @spec enable() :: :ok | {:error, term}
  def enable do
    settings = Settings.read()
    deadline = now() + settings.timeout

    with {:ok, version} <- agreed(settings, deadline),
         :ok <- Available.ensure(settings),
         :ok <- Available.caught_up(deadline),
         :ok <- Sync.ensure(settings),
         do: Sync.reach(version, max(deadline - now(), 1))
  end

  # The group may be about to form, or to elect.
  defp agreed(settings, deadline) do
    left = deadline - now()

    case Store.fetch(settings.group, :linearizable, left |> min(@timeout) |> max(1)) do
      {:ok, ledger, _version} ->
        {:ok, ledger.version}

      {:error, reason} when reason in [:no_leader, :no_group, :timeout, :busy] and left > 0 ->
        receive do
        after
          @poll_ms -> agreed(settings, deadline)
        end

      {:error, reason} ->
        {:error, reason}
    end
  end

  @doc "Enables it with the application, where the configuration says so."
  @spec at_start() :: :ok | {:error, term}
  def at_start do
    if Settings.read().sync,
      do: with({:error, reason} <- enable(), do: {:error, {:shared_config, reason}}),
      else: :ok
  end

  @doc "See `Foundation.Config.disable_cluster_wide_sync/0`."
  @spec disable() :: :ok
  def disable, do: Sync.stop()

  @doc "See `Foundation.Config.cluster_status/0`."
  @spec status() :: map
  def status do
    %{values: values, refused: refused} = ConfigServer.shared()

    %{
      synced: Sync.running?(),
      version: Sync.version(),
      writable: Partitions.writable?(),
      paths: values |> Map.keys() |> Enum.sort(),
      refused: refused,
      conflicts: Enum.map(pending(), &elem(&1, 0))
    }
  end

  defp timeout!(options), do: Options.positive!(:timeout, Keyword.get(options, :timeout, @timeout))

  defp consistency!(level) when level in [:linearizable, :lease, :local], do: level

  defp consistency!(other),
    do: raise(ArgumentError, "consistency: is :linearizable, :lease or :local, got: #{inspect(other)}")

  defp now, do: System.monotonic_time(:millisecond)
end
