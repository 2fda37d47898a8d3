defmodule Foundation.MABEAM.Coordination.Session do
  @moduledoc false
  # One coordination: asks the agents what the protocol wants asked, takes their answers within the round's time, and ends
  # with an outcome, whatever agents and protocol do. What it knows is in Run; here is what comes in and goes out.

  use GenServer, restart: :temporary

  alias Foundation.Distributed.Context
  alias Foundation.Events
  alias Foundation.MABEAM.Agent.Account
  alias Foundation.MABEAM.Comms.{Delivery, Directory, Inbox}
  alias Foundation.MABEAM.Coordination.{Run, Table}
  alias Foundation.MABEAM.{Guards, Telemetry}

  defstruct [:run, :ref, :carrier, :places, :timer, :caller, :lives, waiting: [], watched: %{}, chain: []]

  def start_link(%{run: %Run{}} = start), do: GenServer.start_link(__MODULE__, start)

  @impl true
  def init(%{run: run, carrier: carrier, caller: caller, chain: chain, lives: lives}) do
    Table.began(run.id, self(), run.deadline)
    if caller, do: Process.monitor(elem(caller, 0))
    Process.send_after(self(), :out_of_time, run.deadline, abs: true)
    session = %__MODULE__{run: run, carrier: carrier, caller: caller, chain: chain, lives: lives}
    {:ok, session, {:continue, :begin}}
  end

  @impl true
  def handle_continue(:begin, %{run: run} = session) do
    Context.attach(session.carrier, {:session, run.protocol})
    session = %{session | carrier: Context.carry()}
    places = Directory.find_all(run.participants, Delivery.left(run.deadline))
    session = watch(%{session | run: %{run | trace_id: Context.trace_id()}, places: places})

    case Run.begin(session.run) do
      {:ok, run} -> next(%{session | run: run})
      {:error, reason, run} -> finish({:error, reason}, %{session | run: run})
    end
  end

  @impl true
  def handle_call(:await, from, session), do: {:noreply, %{session | waiting: [from | session.waiting]}}
  def handle_call(:status, _from, session), do: {:reply, {:ok, Run.status(session.run)}, session}

  def handle_call(:cancel, _from, session) do
    {:stop, reason, session} = finish({:error, :cancelled}, session)
    {:stop, reason, :ok, session}
  end

  def handle_call(_other, _from, session), do: {:reply, {:error, :unknown_request}, session}

  @impl true
  def handle_cast(_other, session), do: {:noreply, session}

  @impl true
  def handle_info({{ref, id}, {:answer, reply, cost}}, %{ref: ref} = session) do
    if reply == {:error, :not_found}, do: Directory.forget(id)
    session.run |> Run.answer(id, reply, cost) |> took(session)
  end

  def handle_info({{ref, _id}, {:answer, _reply, _cost}}, session) when is_reference(ref),
    do: {:noreply, %{session | run: Run.late(session.run)}}

  def handle_info({:round_over, ref}, %{ref: ref} = session),
    do: session.run |> Run.out_of_round() |> took(session)

  def handle_info(:out_of_time, session), do: finish({:error, :timeout}, session)

  def handle_info({:DOWN, monitor, :process, pid, _reason}, %{caller: caller} = session) do
    case session.watched do
      %{^monitor => ids} -> session.run |> Run.down(ids) |> took(session)
      _ when caller != nil and elem(caller, 0) == pid -> finish({:error, :abandoned}, session)
      _ -> {:noreply, session}
    end
  end

  def handle_info(_other, session), do: {:noreply, session}

  # -- rounds ---------------------------------------------------------------------------------------------------------

  defp took({:wait, run}, session), do: {:noreply, %{session | run: run}}
  defp took({:next, run}, session), do: next(%{session | run: run})
  defp took({:done, result, run}, session), do: finish(result, %{session | run: run})

  defp next(session) do
    if session.timer, do: Process.cancel_timer(session.timer)

    case Run.round(session.run) do
      {:asks, asks, run} -> %{session | run: run, ref: make_ref()} |> send_asks(asks) |> begun()
      {:done, result, run} -> finish(result, %{session | run: run})
    end
  end

  # Who could not be asked has failed already, and that may have been all.
  defp begun({failed, session}) do
    ms = min(session.run.round_ms, Delivery.left(session.run.deadline))
    session = %{session | timer: Process.send_after(self(), {:round_over, session.ref}, ms)}
    session.run |> Run.unasked(failed) |> took(session)
  end

  defp send_asks(session, asks) do
    deadline = min(System.monotonic_time(:millisecond) + session.run.round_ms, session.run.deadline)
    meta = {deadline, correlation(session), session.chain, session.carrier}
    {near, far} = Enum.split_with(asks, fn {id, _, _} -> match?({:here, _, _, _}, session.places[id]) end)

    failed =
      Enum.reduce(near, %{}, fn {id, kind, payload}, failed ->
        {:here, pid, gate, limit} = session.places[id]

        case Delivery.ask(pid, gate, limit, {self(), {session.ref, id}}, kind, payload, meta) do
          :ok -> failed
          {:error, reason} -> Map.put(failed, id, reason)
        end
      end)

    {Map.merge(failed, send_far(session, far, Delivery.left(deadline))), session}
  end

  # An agent that has answered a session's earlier life does not do it again for its next.
  defp correlation(%{lives: nil}), do: nil
  defp correlation(%{lives: id, run: run}), do: "#{id}/#{run.round}"

  defp send_far(session, asks, left) do
    asks
    |> Enum.group_by(fn {id, _, _} -> session.places[id] end)
    |> Enum.flat_map(fn
      {{:node, node}, asks} ->
        case Delivery.to_node(
               node,
               {:asks, self(), session.ref, asks, left, correlation(session), session.carrier}
             ) do
          :ok -> []
          {:error, reason} -> for {id, _, _} <- asks, Directory.forget(id), do: {id, reason}
        end

      {{:error, reason}, asks} ->
        Enum.map(asks, fn {id, _, _} -> {id, reason} end)
    end)
    |> Map.new()
  end

  # An agent that ends cannot answer any more, nor can those of a node that is gone.
  defp watch(session) do
    by_target =
      Enum.group_by(
        session.places,
        fn
          {_id, {:here, pid, _, _}} -> pid
          {_id, {:node, node}} -> if Delivery.connected?(node), do: {Inbox, node}
          {_id, {:error, _}} -> nil
        end,
        &elem(&1, 0)
      )

    watched = for {target, ids} <- by_target, target != nil, into: %{}, do: {Process.monitor(target), ids}
    %{session | watched: watched}
  end

  # -- the end --------------------------------------------------------------------------------------------------------

  defp finish(result, %{run: run} = session) do
    outcome = Run.outcome(run)

    {answer, word} =
      case result do
        {:decided, decision, detail} ->
          {confidence, detail} = Map.pop(detail, :confidence, 1.0)
          {{:ok, %{outcome | decision: decision, detail: detail, confidence: confidence}}, :decided}

        {:failed, reason, detail} ->
          {{:error, {reason, %{outcome | detail: detail}}}, word(reason)}

        {:error, reason} ->
          {{:error, {reason, outcome}}, word(reason)}
      end

    tell(run, outcome, word)
    deliver(answer, session)
    {:stop, :normal, session}
  end

  defp deliver(answer, %{caller: nil, run: run} = session) do
    Table.ended(run.id, {:result, answer})
    Enum.each(session.waiting, &GenServer.reply(&1, answer))
  end

  defp deliver(answer, %{caller: {_pid, alias}, run: run} = session) do
    Table.ended(run.id, :delivered)
    send(alias, {alias, answer})
    Enum.each(session.waiting, &GenServer.reply(&1, answer))
  end

  defp word(reason) when is_atom(reason), do: reason
  defp word(reason) when is_tuple(reason) and is_atom(elem(reason, 0)), do: elem(reason, 0)
  defp word(_reason), do: :failed

  defp tell(run, outcome, word) do
    Telemetry.session(run.protocol, word, outcome)

    data = %{
      session: run.id,
      protocol: run.protocol,
      result: word,
      participants: length(run.participants),
      answered: map_size(outcome.answers),
      rounds: outcome.rounds,
      cost: outcome.cost
    }

    :mabeam_session |> Events.new_event(data) |> Events.store()
  end

  @doc "The guards and the chain of a new session: those of the caller's callback hold for it too."
  @spec inherit(keyword) :: {Guards.t(), integer, list}
  def inherit(limits) do
    {due, chain} = Account.request()
    own = Account.agent()
    guards = Guards.new!(limits)
    deadline = min(System.monotonic_time(:millisecond) + limits[:wall_ms], due)
    {guards, deadline, if(own, do: chain ++ [own], else: chain)}
  end
end
