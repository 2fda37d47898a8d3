defmodule Foundation.Distributed.Consensus.Group do
  @moduledoc false
  # One member of a group with a machine of the user's: runs the machine, and owns the group on this node.

  use GenServer, restart: :permanent
  alias Foundation.Distributed.Consensus.{Codec, Engine, Member, Roster}
  alias Foundation.Native

  def start_link(spec), do: GenServer.start_link(__MODULE__, spec)

  @impl true
  def init(%{name: name, machine: {module, argument}} = spec) do
    Process.flag(:trap_exit, true)
    reference = Member.start(Engine.handle(), spec, {:process, self()})

    {:ok,
     %{
       name: name,
       module: module,
       argument: argument,
       machine: module.init(argument),
       starting: reference,
       started: nil,
       waiting: []
     }}
  end

  @impl true
  def handle_call(:started, from, %{started: nil} = state),
    do: {:noreply, %{state | waiting: [from | state.waiting]}}

  def handle_call(:started, _from, state), do: {:reply, state.started, state}

  # What the machine knows now; who asks has seen to it that this is enough.
  def handle_call({:query, query}, _from, state), do: {:reply, query(state, query), state}

  @impl true
  def handle_info({:foundation_machine, ticket, {:apply, entries}}, state) do
    {replies, machine} = Enum.map_reduce(entries, state.machine, &apply_one(&1, &2, state.module))
    answer(ticket, replies)
    {:noreply, %{state | machine: machine}}
  end

  def handle_info({:foundation_machine, ticket, {:query, query}}, state) do
    answer(ticket, Codec.encode(query(state, Codec.decode(query))))
    {:noreply, state}
  end

  def handle_info({:foundation_machine, ticket, :snapshot}, state) do
    answer(ticket, Codec.encode(state.module.snapshot(state.machine)))
    {:noreply, state}
  end

  def handle_info({:foundation_machine, ticket, {:restore, snapshot}}, state) do
    machine = state.module.restore(Codec.decode(snapshot), state.argument)
    answer(ticket, :ok)
    {:noreply, %{state | machine: machine}}
  end

  def handle_info({reference, {:ok, handle}}, %{starting: reference} = state) do
    Roster.running(state.name, handle, self())
    {:noreply, started(state, :ok)}
  end

  def handle_info({reference, {:error, reason}}, %{starting: reference} = state) do
    {:stop, {:shutdown, reason}, started(state, {:error, reason})}
  end

  def handle_info({:foundation_consensus_leader, leader, term}, state) do
    Member.tell_leader(state.name, leader, term)
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp answer(ticket, answer) do
    with :dirty <- Native.consensus_answer(ticket, answer), do: Native.consensus_answer_large(ticket, answer)
  end

  defp started(state, answer) do
    for from <- state.waiting, do: GenServer.reply(from, answer)
    %{state | started: answer, waiting: []}
  end

  defp apply_one({index, term, time, command}, machine, module) do
    {reply, machine} =
      module.apply(Codec.decode(command), %{index: index, term: term, time_ms: time}, machine)

    {Codec.encode({:ok, reply}), machine}
  rescue
    exception -> {Codec.encode({:error, {:raised, exception}}), machine}
  end

  defp query(state, query) do
    {:ok, state.module.query(query, state.machine)}
  rescue
    exception -> {:error, {:raised, exception}}
  end

  @impl true
  def terminate(_reason, state), do: Member.stop(state.name)
end
