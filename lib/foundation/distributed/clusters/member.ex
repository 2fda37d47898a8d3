defmodule Foundation.Distributed.Clusters.Member do
  @moduledoc false
  # Answers the calls that nodes of one cluster make here, as a gateway answers those of other clusters, and says how this
  # node calls that cluster. Work that is spread over a cluster is such calls.

  use GenServer

  alias Foundation.Cluster.{Drain, Federation}
  alias Foundation.Cluster.Federation.{Calls, Wire}
  alias Foundation.Distributed.{Call, Fabric}
  alias Foundation.Distributed.Channels.Wire, as: Deadline
  alias Foundation.Distributed.Fabric.Scope
  alias Foundation.Telemetry

  @channel :coordination
  # So many nodes are asked before it counts as allowed nowhere.
  @tries 8

  def child_spec({scope, %{name: name, allow: allow}}),
    do: %{id: {__MODULE__, name}, start: {__MODULE__, :start_link, [{scope, name, allow}]}}

  def start_link({scope, _name, _allow} = argument),
    do: GenServer.start_link(__MODULE__, argument, name: Scope.process(scope, __MODULE__))

  @impl true
  def init({scope, name, allow}) do
    Process.flag(:trap_exit, true)
    Federation.Member.put(name, %{nodes: fn -> nodes(scope) end, call: &call(scope, &1, &2)})
    {:ok, %{scope: scope, name: name, allow: allow, calls: Calls.new()}}
  end

  defp nodes(scope), do: Enum.sort([node() | Fabric.nodes(scope)])

  # Nothing was done by a node that cannot be reached, does not answer calls, or does not allow this one.
  defp call(scope, request, timeout) do
    deadline = Deadline.deadline(timeout)
    # One that drains is asked when no other is there.
    {draining, others} = Enum.split_with(Fabric.nodes(scope), &Drain.noted(scope, &1))
    nodes = Enum.take(Enum.shuffle(others) ++ draining, @tries) ++ [node()]
    {not_allowed, _} = Wire.not_allowed()
    ask(nodes, scope, request, deadline, {:ok, not_allowed, ""})
  end

  defp ask([], _scope, _request, _deadline, last), do: last

  defp ask([node | rest], scope, request, deadline, last) do
    case call(scope, node, request, max(Deadline.left(deadline), 1)) do
      {:error, reason} when reason in [:unreachable, :noproc] -> ask(rest, scope, request, deadline, last)
      {:ok, {status, bytes}} -> allowed({:ok, status, bytes}, rest, scope, request, deadline)
      {:error, reason} when reason in [:timeout, :busy, :too_large] -> {:error, reason}
      {:error, :not_running} -> {:error, :not_running}
      {:error, _broken} -> {:error, :broken}
    end
  end

  defp allowed({:ok, status, _} = answer, rest, scope, request, deadline) do
    if {status, ""} == Wire.not_allowed(),
      do: ask(rest, scope, request, deadline, answer),
      else: answer
  end

  @doc "Makes a call on one node: its answer as the wire has it, or why there is none."
  @spec call(Scope.t(), node, binary, pos_integer) :: {:ok, {non_neg_integer, binary}} | {:error, term}
  def call(scope, node, request, left), do: ask_member(scope, node, {:call, node(), request, left}, left)

  @doc "Whether a node would make calls of that function for this one: how many at a time, by its schedulers."
  @spec enlist(Scope.t(), node, Wire.function_name(), pos_integer) :: {:ok, pos_integer} | {:error, term}
  def enlist(scope, node, function, timeout) do
    case ask_member(scope, node, {:enlist, function}, timeout) do
      {:ok, {:ok, count}} when is_integer(count) and count > 0 -> {:ok, count}
      {:ok, {:error, reason}} when is_atom(reason) -> {:error, reason}
      {:ok, _other} -> {:error, :malformed}
      {:error, reason} -> {:error, reason}
    end
  end

  # There the name is that of the cluster's own process.
  defp ask_member(scope, node, question, timeout) do
    name = if node == node(), do: Scope.process(scope, __MODULE__), else: __MODULE__
    Call.call(@channel, {name, node}, question, timeout: timeout, cluster: scope)
  end

  @impl true
  def handle_call({:call, node, request, within}, from, state)
      when is_atom(node) and is_binary(request) and is_integer(within) and within > 0 do
    caller = {Atom.to_string(state.name), Atom.to_string(node)}
    answer = fn status, bytes -> GenServer.reply(from, {status, bytes}) end
    {:noreply, %{state | calls: Calls.start(state.calls, from, caller, state.allow, request, within, answer)}}
  end

  def handle_call({:enlist, function}, _from, state) do
    answer =
      cond do
        Drain.noted(state.scope, node()) != nil -> {:error, :draining}
        state.scope == nil and Foundation.Cluster.draining?() -> {:error, :draining}
        is_map_key(state.allow, function) -> {:ok, System.schedulers_online()}
        true -> {:error, :not_allowed}
      end

    {:reply, answer, state}
  end

  def handle_call(_other, _from, state), do: {:reply, {:error, :malformed}, state}

  @impl true
  def handle_info({:deadline, monitor}, state),
    do: {:noreply, %{state | calls: Calls.deadline(state.calls, monitor)}}

  def handle_info({:DOWN, monitor, :process, _pid, reason}, state) do
    {ended, calls} = Calls.ended(state.calls, monitor, reason)

    with {outcome, {cluster, _node}} <- ended,
         do:
           Telemetry.execute([:foundation, :federation, :served], %{count: 1}, %{
             cluster: cluster,
             outcome: outcome
           })

    {:noreply, %{state | calls: calls}}
  end

  # The caller on the other node gave up, or is gone.
  def handle_info({:foundation_cancelled, from}, state),
    do: {:noreply, %{state | calls: Calls.cancel(state.calls, from)}}

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    Federation.Member.delete(state.name)
    Calls.stop_all(state.calls)
  end
end
