defmodule Foundation.MABEAM.Replicas.Member do
  @moduledoc false
  # Says on each node where the replicas are, and on those that are some keeps the member of their group: begins it with
  # the others, or joins them when they have begun without this life of the node. The group goes on when this process
  # ends, for a member that forgets what it has promised endangers the others.

  use GenServer

  alias Foundation.Distributed.Consensus
  alias Foundation.Distributed.Consensus.Names
  alias Foundation.MABEAM.{Machine, Replicas}
  alias Foundation.Peers

  @again_ms 250
  @look_ms 2_000
  @ask_ms 2_000
  @start_ms 15_000

  def start_link(nodes), do: GenServer.start_link(__MODULE__, nodes, name: __MODULE__)

  @impl true
  def init(nodes) do
    Process.flag(:trap_exit, true)
    Replicas.switch(nodes)
    if node() in nodes, do: send(self(), :look)
    {:ok, %{nodes: nodes, task: nil}}
  end

  @impl true
  def handle_info(:look, %{task: nil} = state) do
    case Consensus.status(Replicas.group()) do
      {:ok, _status} ->
        {:noreply, look(@look_ms, state)}

      {:error, :no_group} ->
        nodes = state.nodes
        task = Task.Supervisor.async_nolink(Foundation.TaskSupervisor, fn -> begin(nodes) end)
        {:noreply, %{state | task: task.ref}}
    end
  end

  def handle_info({task, _answer}, %{task: task} = state) do
    Process.demonitor(task, [:flush])
    {:noreply, look(@again_ms, %{state | task: nil})}
  end

  def handle_info({:DOWN, task, :process, _pid, _reason}, %{task: task} = state),
    do: {:noreply, look(@again_ms, %{state | task: nil})}

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def handle_call(_other, _from, state), do: {:reply, {:error, :unknown_request}, state}

  @impl true
  def handle_cast(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, _state), do: Replicas.switch(nil)

  defp look(ms, state) do
    Process.send_after(self(), :look, ms)
    state
  end

  # Those who have this life of the node among them begin with it, or have begun. Others that are led have begun without
  # it; those that are not are about to, or have lost too many.
  defp begin(nodes) do
    with {:ok, me} <- Names.mine() do
      {answers, _missing} = Peers.ask(nodes -- [node()], {__MODULE__, :seen, []}, @ask_ms)
      seen = for {node, %{} = seen} <- answers, do: {node, seen}

      cond do
        seen == [] or Enum.any?(seen, fn {_node, %{members: members}} -> me in members end) ->
          start(members: nodes)

        led = Enum.find(seen, fn {_node, seen} -> seen.led end) ->
          start(join: elem(led, 0))

        true ->
          {:error, :no_leader}
      end
    end
  end

  defp start(options),
    do: Consensus.start_group(Replicas.group(), [machine: Machine, timeout: @start_ms] ++ options)

  @doc false
  # What this node's member knows of the group, for one that begins; nil without one.
  def seen do
    with {:ok, seen} <- Consensus.lives(Replicas.group()), do: seen, else: (_ -> nil)
  end
end
