defmodule Foundation.Services.ConfigServer.State do
  @moduledoc false
  # The configuration server's state: how it begins, who is subscribed, and what of it others may read.

  alias Foundation.Config.{Change, Guard, History, Overlay, Registration, Snapshot}

  @doc "A state at its start."
  def fresh(config, namespace) do
    %{
      config: config,
      subscribers: [],
      monitors: %{},
      namespace: namespace,
      metrics: %{start_time: now(), updates_count: 0, last_update: nil},
      schemas: [],
      history: History.new(),
      overlay: Overlay.new(),
      vetoers: %{},
      pending: nil,
      waiting: []
    }
  end

  @doc """
  The state after a crash: the values are built anew, as they may be what it crashed of; schemas, history and what is
  set cluster-wide are still there, so that a rollback brings back what was in force.
  """
  def recover(%{namespace: :production} = state) do
    case Snapshot.kept() do
      nil ->
        state

      {last, kept} ->
        {config, schemas} = Registration.again(state.config, kept.schemas)
        {config, overlay} = Overlay.over(config, schemas, kept.overlay)

        history =
          case Change.diff(last, config) do
            [] -> kept.history
            changes -> History.record(kept.history, :restart, changes, self(), nil)
          end

        %{state | config: config, schemas: schemas, history: history, overlay: overlay}
    end
  end

  def recover(state), do: state

  @doc "Puts the state's configuration where all can read it, if it is the production one."
  def publish(%{namespace: :production, config: config} = state) do
    kept = %{schemas: state.schemas, history: state.history, overlay: state.overlay}
    Snapshot.put(self(), public(state), config, Guard.sealed?(config), kept)
    state
  end

  def publish(state), do: state

  @doc """
  The configuration without the sections of schemas: the struct as its type says, whatever is registered.
  """
  def public(state), do: Map.drop(state.config, Enum.map(state.schemas, & &1.__config_name__()))

  @doc "The state with one subscriber more."
  def subscribed(state, pid) do
    if pid in state.subscribers do
      state
    else
      monitors = Map.put(state.monitors, Process.monitor(pid), pid)
      %{state | subscribers: [pid | state.subscribers], monitors: monitors}
    end
  end

  @doc "Gives a subscriber a say, or takes it."
  def may_veto(state, pid, opts) do
    case Keyword.fetch(opts, :veto) do
      {:ok, true} -> %{state | vetoers: Map.put(state.vetoers, pid, Keyword.get(opts, :deadline, 1_000))}
      {:ok, false} -> %{state | vetoers: Map.delete(state.vetoers, pid)}
      :error -> state
    end
  end

  @doc "The state without a subscriber."
  def without(state, pid) do
    {gone, monitors} = Enum.split_with(state.monitors, fn {_ref, subscriber} -> subscriber == pid end)
    Enum.each(gone, fn {ref, _} -> Process.demonitor(ref, [:flush]) end)

    %{
      state
      | monitors: Map.new(monitors),
        subscribers: List.delete(state.subscribers, pid),
        vetoers: Map.delete(state.vetoers, pid)
    }
  end

  @doc "Monotonic milliseconds."
  def now, do: System.monotonic_time(:millisecond)
end
