defmodule Foundation.Services.ConfigServer.Writes do
  @moduledoc false
  # Makes changes, one after another, and asks those first who may veto them. While a proposal is being
  # decided, the changes behind it wait.

  alias Foundation.Config.{Change, Conceal, History, Overlay, Proposal, Registration}
  alias Foundation.Logic.ConfigLogic
  alias Foundation.Services.ConfigServer.{Announce, State}

  @doc "Makes a change now, or when it is its turn."
  def write(request, from, %{pending: nil} = state), do: perform(request, from, state)
  def write(request, from, state), do: {:noreply, %{state | waiting: state.waiting ++ [{request, from}]}}

  defp perform({:update_config, path, value}, from, state) do
    case plan(state, [{path, value}]) do
      {:ok, config, changes} -> {:reply, :ok, commit(state, :update, config, changes, from, nil)}
      {:error, _} = error -> {:reply, error, state}
    end
  end

  defp perform({:validate_and_update, pairs, opts}, from, state) do
    case plan(state, pairs) do
      {:ok, config, changes} -> propose(state, config, changes, from, opts)
      {:error, _} = error -> {:reply, error, state}
    end
  end

  defp perform({:rollback, version}, from, state) do
    with {:ok, config} <- past(state, version),
         {config, overlay} = Overlay.again(config, state.schemas, state.overlay),
         {:ok, config} <- Change.validate(config, state.schemas) do
      state = %{state | overlay: overlay}

      case Change.diff(state.config, config) do
        [] ->
          {:reply, {:ok, state.history.version}, state}

        changes ->
          state = commit(state, :rollback, config, changes, from, version)
          {:reply, {:ok, state.history.version}, state}
      end
    else
      {:error, _} = error -> {:reply, error, state}
    end
  end

  defp perform({:register_schema, module}, from, state) do
    case Registration.add(state.config, state.schemas, module) do
      {:ok, config, schemas} ->
        {config, overlay} = Overlay.again(config, schemas, state.overlay)
        state = %{state | schemas: schemas, overlay: overlay}

        case Change.diff(state.config, config) do
          [] ->
            {:reply, :ok, State.publish(state)}

          _ ->
            name = module.__config_name__()

            changes = [
              %{path: [name], old: Map.fetch(state.config, name) |> missing(), new: Map.fetch(config, name)}
            ]

            {:reply, :ok, commit(state, :register_schema, config, changes, from, module)}
        end

      {:error, _} = error ->
        {:reply, error, state}
    end
  end

  defp perform(:reset_config, {actor, _}, state) do
    {:ok, config} = Registration.defaults(ConfigLogic.reset_config(), state.schemas)
    {config, overlay} = Overlay.over(config, state.schemas, state.overlay)
    changes = Change.diff(state.config, config)

    state =
      State.publish(%{
        state
        | config: config,
          overlay: overlay,
          history: History.record(state.history, :reset, changes, actor, nil)
      })

    Announce.notify(state.subscribers, {:config_reset, State.public(state)})

    count = state.metrics.updates_count
    Announce.store(:config_reset, %{timestamp: State.now(), reset_from_updates_count: count})
    Announce.count([:foundation, :config_resets], %{reset_from_updates_count: count})
    {:reply, :ok, state}
  end

  defp perform(:reset_state, _from, state) do
    case ConfigLogic.build_config([]) do
      {:ok, config} ->
        Enum.each(state.monitors, fn {ref, _} -> Process.demonitor(ref, [:flush]) end)
        {:reply, :ok, State.publish(%{State.fresh(config, state.namespace) | waiting: state.waiting})}

      {:error, _} = error ->
        {:reply, error, state}
    end
  end

  # What the cluster has agreed on, in place of what it had before.
  defp perform({:share, values, _note}, _from, %{overlay: %{values: values, refused: refused}} = state)
       when refused == %{},
       do: {:reply, {:ok, refused}, state}

  defp perform({:share, values, note}, from, state) do
    {config, overlay} = Overlay.put(state.config, state.schemas, state.overlay, values)
    paths = Map.keys(state.overlay.values) ++ Map.keys(values)
    changes = Overlay.changes(state.config, config, paths)

    cond do
      changes != [] ->
        state = commit(%{state | overlay: overlay}, :cluster, config, changes, from, note)
        {:reply, {:ok, overlay.refused}, state}

      # Still refused, as it was.
      Map.keys(overlay.refused) == Map.keys(state.overlay.refused) and overlay.values == state.overlay.values ->
        {:reply, {:ok, overlay.refused}, state}

      true ->
        {:reply, {:ok, overlay.refused}, State.publish(%{state | overlay: overlay})}
    end
  end

  # What is set for all is not changed for this node alone.
  defp plan(state, pairs) do
    with :ok <- Overlay.free(state.overlay, pairs), do: Change.plan(state.config, state.schemas, pairs)
  end

  defp past(state, version) do
    case History.at(state.history, state.config, version) do
      {:ok, config} -> {:ok, config}
      :error -> {:error, History.unknown(version, state.history.version, length(state.history.entries))}
    end
  end

  # Readers see all of the changes or none: there is one snapshot.
  defp commit(state, kind, config, changes, {actor, _tag}, note) do
    metrics = %{state.metrics | updates_count: state.metrics.updates_count + 1, last_update: State.now()}
    history = History.record(state.history, kind, changes, actor, note)
    state = State.publish(%{state | config: config, metrics: metrics, history: history})

    for change <- changes,
        do: Announce.notify(state.subscribers, {:config_updated, change.path, value(change.new)})

    for change <- changes do
      Announce.store(:config_updated, %{
        path: change.path,
        new_value: Conceal.value(change.path, value(change.new), state.schemas),
        previous_value: previous(change, state.schemas),
        timestamp: State.now()
      })

      Announce.count([:foundation, :config_updates], %{path: change.path})
    end

    state
  end

  defp value({:ok, value}), do: value
  defp value(:missing), do: nil

  defp missing({:ok, value}), do: {:ok, value}
  defp missing(:error), do: :missing

  defp previous(%{old: {:ok, old}, path: path}, schemas), do: {:ok, Conceal.value(path, old, schemas)}
  defp previous(%{path: path}, _schemas), do: {:error, ConfigLogic.not_found(path)}

  # -- proposals ---------------------------------------------------------------------------------------------

  defp propose(state, config, changes, {proposer, _} = from, opts) do
    note = Keyword.get(opts, :note)
    voters = Map.delete(state.vetoers, proposer)

    if voters == %{} do
      state = commit(state, :update, config, changes, from, note)
      {:reply, {:ok, state.history.version}, state}
    else
      ref = make_ref()
      shown = Enum.map(changes, &%{path: &1.path, old: value(&1.old), new: value(&1.new)})

      for {pid, deadline} <- voters do
        send(pid, {:config_proposal, {self(), ref}, shown})
        wait = min(deadline, Keyword.get(opts, :deadline, deadline))
        Process.send_after(self(), {:config_vote, ref, pid, :silent}, wait)
      end

      proposal = %Proposal{
        ref: ref,
        from: from,
        config: config,
        changes: changes,
        voters: MapSet.new(Map.keys(voters)),
        on_silence: Keyword.get(opts, :on_silence, :accept),
        note: note
      }

      {:noreply, %{state | pending: proposal}}
    end
  end

  @doc "Takes the answer of a subscriber with a say."
  def heard(%{pending: nil} = state, _pid, _answer), do: state

  def heard(state, pid, answer) do
    case Proposal.hear(state.pending, pid, answer) do
      {:waiting, proposal} -> %{state | pending: proposal}
      {:agreed, proposal} -> state |> agreed(proposal) |> resume()
      {{:vetoed, by, reason}, proposal} -> state |> vetoed(proposal, by, reason) |> resume()
    end
  end

  defp agreed(state, proposal) do
    state =
      commit(
        %{state | pending: nil},
        :update,
        proposal.config,
        proposal.changes,
        proposal.from,
        proposal.note
      )

    GenServer.reply(proposal.from, {:ok, state.history.version})
    state
  end

  defp vetoed(state, proposal, by, reason) do
    for {pid, _} <- state.vetoers, pid != by, {elem(proposal.from, 0)} != {pid} do
      send(pid, {:config_proposal_dropped, {self(), proposal.ref}, reason})
    end

    GenServer.reply(proposal.from, {:error, Proposal.vetoed(proposal, by, reason)})
    %{state | pending: nil}
  end

  # Lets the changes that waited have their turn, up to the next one that has to wait itself.
  defp resume(%{pending: nil, waiting: [{request, from} | rest]} = state) do
    case perform(request, from, %{state | waiting: rest}) do
      {:reply, reply, state} ->
        GenServer.reply(from, reply)
        resume(state)

      {:noreply, state} ->
        resume(state)
    end
  end

  defp resume(state), do: state
end
