defmodule Foundation.Config.Shared.Sync do
  @moduledoc false
  # Puts in force on this node what the cluster has agreed on, as this node hears of it, and what other nodes have set of
  # the paths that are to be available. What may have been missed is looked for each second.

  use GenServer
  require Logger

  alias Foundation.Config.Shared.{Available, Ledger, Settings, Store}
  alias Foundation.Services.ConfigServer
  alias Foundation.Telemetry
  alias Foundation.Utils.OnDemand

  @tick_ms 1_000
  @local_ms 1_000

  # -- callers -------------------------------------------------------------------------------------------------------

  @doc "Starts it under the application, if it does not run."
  @spec ensure(Settings.t()) :: :ok | {:error, term}
  def ensure(settings), do: OnDemand.ensure(__MODULE__, settings)

  @doc "Ends it: the node's own values are in force again."
  @spec stop() :: :ok
  def stop do
    _ = Supervisor.terminate_child(Foundation.Supervisor, __MODULE__)
    _ = Supervisor.delete_child(Foundation.Supervisor, __MODULE__)
    _ = ConfigServer.share(%{}, :disabled)
    :ok
  catch
    :exit, _ -> :ok
  end

  @doc "Whether it runs."
  @spec running?() :: boolean
  def running?, do: Process.whereis(__MODULE__) != nil

  @doc "The version in force here; nil where it does not run."
  @spec version() :: non_neg_integer | nil
  def version, do: ask(:version, 5_000, nil)

  @doc "Waits until a version is in force here: `:ok`, `{:error, :timeout}`, or `{:error, :not_running}`."
  @spec reach(non_neg_integer, pos_integer) :: :ok | {:error, :timeout | :not_running}
  def reach(version, timeout), do: ask({:reach, version}, timeout, {:error, :not_running})

  @doc "Looks for what is new now."
  @spec now(pos_integer) :: :ok | {:error, :timeout | :not_running}
  def now(timeout), do: ask(:now, timeout, {:error, :not_running})

  defp ask(request, timeout, missing) do
    GenServer.call(__MODULE__, request, timeout)
  catch
    :exit, {:timeout, _} -> {:error, :timeout}
    :exit, _ -> missing
  end

  # -- the process ---------------------------------------------------------------------------------------------------

  def start_link(settings), do: GenServer.start_link(__MODULE__, settings, name: __MODULE__)

  @impl true
  def init(settings) do
    state = %{
      settings: settings,
      keeper: nil,
      replica: nil,
      ledger: Ledger.new(),
      # The version that this node's configuration server has.
      in_force: nil,
      available: %{},
      conflicts: %{},
      refused: [],
      waiting: []
    }

    {:ok, state, {:continue, :begin}}
  end

  @impl true
  def handle_continue(:begin, state) do
    Process.send_after(self(), :tick, @tick_ms)
    {:noreply, look(state)}
  end

  @impl true
  def handle_call(:version, _from, state), do: {:reply, state.in_force || 0, state}

  def handle_call({:reach, version}, from, state),
    do: {:noreply, answer(%{state | waiting: [{version, from} | state.waiting]})}

  def handle_call(:now, _from, state), do: {:reply, :ok, look(state)}

  @impl true
  def handle_info({:foundation_value, :config, _version, {:ok, packed}}, state) do
    case Ledger.unpack(packed) do
      {:ok, ledger} -> {:noreply, state |> newer(ledger) |> put_in_force()}
      {:error, _} -> {:noreply, state}
    end
  end

  def handle_info({:foundation_state, _name, _diffs}, state), do: {:noreply, look(state)}

  def handle_info(:tick, state) do
    Process.send_after(self(), :tick, @tick_ms)
    {:noreply, look(state)}
  end

  def handle_info({:DOWN, monitor, :process, _pid, _reason}, state) do
    {:noreply,
     %{
       state
       | keeper: unless(state.keeper == monitor, do: state.keeper),
         replica: unless(state.replica == monitor, do: state.replica)
     }}
  end

  def handle_info(_other, state), do: {:noreply, state}

  # -- looking -------------------------------------------------------------------------------------------------------

  # What this node's member of the group has; it may be behind, and is told of what comes.
  defp look(state) do
    state = state |> watch() |> attend()

    state =
      case Store.fetch(state.settings.group, :local, @local_ms) do
        {:ok, ledger, _version} -> newer(state, ledger)
        {:error, _reason} -> state
      end

    put_in_force(%{state | available: Available.all()})
  end

  # A member that starts again reads its log: what is in force already is not taken back meanwhile.
  defp newer(%{ledger: %{version: known}} = state, %{version: version} = ledger) do
    if version > known, do: %{state | ledger: ledger}, else: state
  end

  defp watch(%{keeper: nil} = state) do
    case Store.watch(state.settings.group) do
      {:ok, keeper} -> %{state | keeper: Process.monitor(keeper)}
      {:error, _reason} -> state
    end
  end

  defp watch(state), do: state

  defp attend(%{replica: nil} = state) do
    with :ok <- Available.ensure(state.settings), :ok <- Available.subscribe() do
      %{state | replica: Process.monitor(Available.process())}
    else
      {:error, _reason} -> state
    end
  end

  defp attend(state), do: state

  # -- putting in force ----------------------------------------------------------------------------------------------

  # What has been agreed on counts more than what was set of the same path elsewhere.
  defp put_in_force(state) do
    agreed = state.ledger.values
    free = Map.reject(state.available, fn {path, _} -> Enum.any?(agreed, &touches?(&1, path)) end)
    values = Map.merge(Available.values(free), agreed)

    case ConfigServer.share(values, state.ledger.version) do
      {:ok, refused} ->
        state = %{state | in_force: state.ledger.version}
        state |> tell_refused(refused) |> tell_conflicts(Available.conflicts(free)) |> answer()

      # It starts again, or is down: with the next tick.
      {:error, _} ->
        state
    end
  catch
    :exit, _ -> state
  end

  defp touches?({agreed, _value}, path),
    do: List.starts_with?(path, agreed) or List.starts_with?(agreed, path)

  # Who waits for a version has it.
  defp answer(%{in_force: nil} = state), do: state

  defp answer(%{in_force: in_force} = state) do
    {done, waiting} = Enum.split_with(state.waiting, fn {version, _from} -> version <= in_force end)
    for {_version, from} <- done, do: GenServer.reply(from, :ok)
    %{state | waiting: waiting}
  end

  # -- telling -------------------------------------------------------------------------------------------------------

  # Once for each set of them.
  defp tell_refused(state, refused) do
    paths = Map.keys(refused)

    for {path, error} <- refused, path not in state.refused do
      Logger.warning("The cluster's configuration of #{inspect(path)} is refused here: #{error.message}")
      Telemetry.execute([:foundation, :config, :refused], %{count: 1}, %{path: path, error: error.error_type})
    end

    %{state | refused: paths}
  end

  defp tell_conflicts(state, conflicts) do
    for {path, entries} <- conflicts, not is_map_key(state.conflicts, path) do
      nodes = Enum.map(entries, & &1.node)
      Logger.warning("#{inspect(path)} was set to different values at the same time, on #{inspect(nodes)}")

      Telemetry.execute([:foundation, :config, :conflict], %{values: length(entries)}, %{
        path: path,
        nodes: nodes
      })
    end

    %{state | conflicts: conflicts}
  end
end
