defmodule Foundation.Cluster.Connector do
  @moduledoc false
  # Makes the connections that strategies ask for, and tries again those that fail.
  #
  # The first attempt runs in the caller. While some strategy claims a node that is not connected, further attempts follow
  # from processes of their own, after 100 ms, then twice as long each time up to 30 s, each spread by half. Of two nodes
  # that find each other at the same moment the one whose name sorts last waits a little, so that one connection is made
  # and not two of which one is thrown away.

  use GenServer

  alias Foundation.Cluster.{Membership, Table}

  require Logger

  @first_ms 100
  @longest_ms 30_000
  @turn_ms 5
  @at_once 32

  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @doc "Connects to the node for a strategy; `:ignored` when it is not to be connected."
  @spec connect(atom, node) :: true | false | :ignored
  def connect(topology, node) do
    cond do
      node == node() or not Node.alive?() ->
        :ignored

      # The claim outlives the refusal.
      Table.claim(node, topology) and Membership.refused?(node) ->
        :ignored

      connected?(node) ->
        if Table.get({:given_up, node}), do: Membership.wanted(node)
        true

      waiting?(node) ->
        false

      true ->
        attempt(node)
    end
  end

  @doc "The strategy wants the node no more: true, also when others do."
  @spec disconnect(atom, node) :: true
  def disconnect(topology, node) do
    Table.release(node, topology)
    Membership.given_up(node, topology)
    true
  end

  @doc "Tries the node until `give_up_trying/2`, for someone who is no strategy."
  @spec keep_trying(atom, node) :: :ok
  def keep_trying(topology, node) do
    Table.claim(node, topology)
    retry(node)
  end

  @spec give_up_trying(atom, node) :: boolean
  def give_up_trying(topology, node), do: Table.release(node, topology)

  @doc "The connected nodes that the strategy has asked for."
  @spec list(atom) :: [node]
  def list(topology), do: for(node <- :erlang.nodes(:connected), topology in Table.claims(node), do: node)

  @doc "Sees to it that a claimed node is tried again."
  @spec retry(node) :: :ok
  def retry(node), do: GenServer.cast(__MODULE__, {:retry, node})

  @doc "Sees to it that all claimed nodes are tried again."
  @spec retry_all() :: :ok
  def retry_all, do: Enum.each(Table.claimed(), &retry/1)

  @doc "Forgets how often the node failed."
  @spec connected(node) :: :ok
  def connected(node), do: GenServer.cast(__MODULE__, {:connected, node})

  @impl true
  def init(_opts) do
    # After a restart the claims still stand.
    retry_all()
    {:ok, %{failures: %{}, timers: %{}, running: %{}}}
  end

  @impl true
  def handle_cast({:retry, node}, state) do
    if Map.has_key?(state.timers, node) or running?(state, node),
      do: {:noreply, state},
      else: {:noreply, schedule(state, node)}
  end

  def handle_cast({:connected, node}, state) do
    {timer, timers} = Map.pop(state.timers, node)
    if timer, do: Process.cancel_timer(timer)
    Table.delete({:waiting, node})
    {:noreply, %{state | failures: Map.delete(state.failures, node), timers: timers}}
  end

  @impl true
  def handle_info({:try, node}, state) do
    state = %{state | timers: Map.delete(state.timers, node)}
    Table.delete({:waiting, node})

    cond do
      Table.claims(node) == [] or connected?(node) -> {:noreply, forget(state, node)}
      Membership.refused?(node) -> {:noreply, schedule(state, node)}
      map_size(state.running) >= @at_once -> {:noreply, later(state, node, @first_ms)}
      true -> {:noreply, run(state, node)}
    end
  end

  def handle_info({:DOWN, reference, :process, _pid, _reason}, state) do
    {node, running} = Map.pop(state.running, reference)
    state = %{state | running: running}

    if node == nil or connected?(node) or Table.claims(node) == [],
      do: {:noreply, state},
      else: {:noreply, schedule(state, node)}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp run(state, node) do
    {_pid, reference} = spawn_monitor(fn -> wait_turn(node) || :net_kernel.connect_node(node) end)

    put_in(state.running[reference], node)
  end

  defp running?(state, node), do: node in Map.values(state.running)

  defp schedule(state, node) do
    failures = Map.get(state.failures, node, 0)
    ms = min(@first_ms * Integer.pow(2, min(failures, 12)), @longest_ms)

    if failures == 3,
      do: Logger.info("[cluster] #{node} was found, and no connection to it can be made; trying on")

    later(put_in(state.failures[node], failures + 1), node, div(ms, 2) + :rand.uniform(ms))
  end

  defp later(state, node, ms) do
    Table.put({:waiting, node}, true)
    put_in(state.timers[node], Process.send_after(self(), {:try, node}, ms))
  end

  defp forget(state, node), do: %{state | failures: Map.delete(state.failures, node)}

  defp attempt(node) do
    case wait_turn(node) || :net_kernel.connect_node(node) do
      true ->
        true

      answer ->
        retry(node)
        answer
    end
  end

  # True when the other one has connected meanwhile.
  defp wait_turn(node) do
    if node() > node do
      receive do
      after
        @turn_ms + :rand.uniform(@turn_ms) -> :ok
      end

      connected?(node)
    else
      false
    end
  end

  defp connected?(node), do: node in :erlang.nodes(:connected)
  defp waiting?(node), do: Table.get({:waiting, node}, false)
end
