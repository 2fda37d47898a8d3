defmodule Foundation.Cluster.PollTest do
  # The loop of strategies, by the calls it makes; and connect_nodes/4 and disconnect_nodes/4 by libcluster's rules.
  use ExUnit.Case, async: true
  import Foundation.Eventually

  alias Foundation.Cluster.Strategy
  alias Foundation.Cluster.Strategy.{Epmd, ErlangHosts, Poll, State, Static}

  defmodule Scripted do
    use Foundation.Cluster.Strategy.Poll, interval: 20

    # Takes the next answer off the list in the agent; the last one stays.
    @impl true
    def discover(%State{config: config} = state) do
      answer =
        Agent.get_and_update(config[:script], fn
          [last] -> {last, [last]}
          [next | rest] -> {next, rest}
        end)

      if answer == :raise, do: raise("no")
      if answer == :exit, do: exit(:gone)

      if is_tuple(answer) and elem(answer, 0) == :counted,
        do: {:ok, elem(answer, 1), count(state)},
        else: answer
    end

    defp count(state), do: %{state | meta: (state.meta || 0) + 1}
  end

  # Stands in for the distribution: who is connected, and what was called.
  defp world(script) do
    {:ok, script} = Agent.start_link(fn -> script end)
    {:ok, world} = Agent.start_link(fn -> %{up: [], calls: []} end)

    state = %State{
      topology: :"poll_#{System.unique_integer([:positive])}",
      connect: {__MODULE__, :connect, [world]},
      disconnect: {__MODULE__, :disconnect, [world]},
      list_nodes: {__MODULE__, :list, [world]},
      config: [script: script]
    }

    {world, state}
  end

  def connect(world, node) do
    Agent.get_and_update(world, fn w ->
      answer = if node in [:dead@x, :odd@x], do: node == :odd@x && :ignored, else: true
      up = if answer == true, do: [node | w.up], else: w.up
      {answer, %{w | up: Enum.uniq(up), calls: [{:connect, node} | w.calls]}}
    end)
  end

  def disconnect(world, node) do
    Agent.get_and_update(world, fn w ->
      answer = if node == :stuck@x, do: :stuck, else: true
      {answer, %{w | up: List.delete(w.up, node), calls: [{:disconnect, node} | w.calls]}}
    end)
  end

  def list(world), do: Agent.get(world, & &1.up)
  defp up(world), do: world |> list() |> Enum.sort()
  defp calls(world), do: Agent.get(world, &Enum.reverse(&1.calls))

  describe "the loop" do
    test "asks at once, connects what is new, gives up what is gone" do
      {world, state} = world([{:ok, [:a@x, :b@x]}, {:ok, [:b@x, :c@x]}])
      {:ok, pid} = Scripted.start_link([state])
      assert_eventually(up(world) == [:b@x, :c@x])
      assert {:disconnect, :a@x} in calls(world)
      GenServer.stop(pid)
    end

    test "keeps everything over errors of every kind" do
      {world, state} =
        world([{:ok, [:a@x]}, {:error, :api}, :raise, :exit, {:error, :again}, {:ok, [:a@x, :b@x]}])

      # The pause after an error is counted in hundreds of ms.
      {:ok, pid} = Poll.start_link(Scripted, state, interval: 20)
      assert_eventually(up(world) == [:a@x])
      assert_eventually(up(world) == [:a@x, :b@x], 20_000)
      assert for({:disconnect, node} <- calls(world), do: node) == []
      GenServer.stop(pid)
    end

    test "carries the state that the answer brings" do
      {world, state} = world([{:counted, [:a@x]}, {:counted, [:a@x]}, {:counted, [:b@x]}])
      {:ok, pid} = Scripted.start_link([state])
      assert_eventually(up(world) == [:b@x])
      assert_eventually(:sys.get_state(pid).state.meta >= 3)
      GenServer.stop(pid)
    end

    test "with leaves: false nobody is disconnected" do
      {world, state} = world([{:ok, [:a@x, :b@x]}, {:ok, [:b@x]}, {:ok, [:b@x, :c@x]}])
      {:ok, pid} = Poll.start_link(Scripted, state, interval: 20, leaves: false)
      assert_eventually(up(world) == [:a@x, :b@x, :c@x])
      GenServer.stop(pid)
    end

    test "an interval of the configuration goes before the module's" do
      {_world, state} = world([{:ok, []}])
      {:ok, pid} = Scripted.start_link([%{state | config: [polling_interval: 12_345] ++ state.config}])
      assert :sys.get_state(pid).interval == 12_345
      GenServer.stop(pid)
    end
  end

  describe "connect_nodes/4" do
    test "leaves out this node and the connected ones, and says which failed" do
      {world, state} = world([])
      Agent.update(world, &%{&1 | up: [:up@x]})
      nodes = [node(), :up@x, :a@x, :dead@x, :odd@x, :a@x]
      assert {:error, bad} = Strategy.connect_nodes(:t, state.connect, state.list_nodes, nodes)
      assert Enum.sort(bad) == [dead@x: false, odd@x: :ignored]
      assert Enum.sort(calls(world)) == [connect: :a@x, connect: :dead@x, connect: :odd@x]
      assert :ok = Strategy.connect_nodes(:t, state.connect, state.list_nodes, [])
      assert :ok = Strategy.connect_nodes(:t, state.connect, state.list_nodes, [:b@x])
    end

    test "one that does not answer holds up no other" do
      {world, state} = world([])
      parent = self()

      slow = fn
        node when node == :slow@x ->
          receive do: (:never -> true)

        node ->
          send(parent, {:connected, node})
          true
      end

      spawn_link(fn ->
        Strategy.connect_nodes(:t, {__MODULE__, :run, [slow]}, state.list_nodes, [:slow@x, :fast@x])
      end)

      assert_receive {:connected, :fast@x}
      assert calls(world) == []
    end
  end

  def run(fun, node), do: fun.(node)

  test "disconnect_nodes/4 passes over those that are not there" do
    {world, state} = world([])
    Agent.update(world, &%{&1 | up: [:a@x, :stuck@x]})
    nodes = [:a@x, :stuck@x, :gone@x, node()]

    assert {:error, [stuck@x: :stuck]} =
             Strategy.disconnect_nodes(:t, state.disconnect, state.list_nodes, nodes)

    assert Enum.sort(calls(world)) == [disconnect: :a@x, disconnect: :stuck@x]
  end

  describe "what the built-in ones find" do
    test "Static" do
      assert {:ok, [:a@x]} = Static.discover(%State{config: [nodes: [:a@x]]})
      assert {:ok, [:b@x]} = Static.discover(%State{config: [hosts: [:b@x]]})
      assert {:error, {:not_node_names, ["a@x"]}} = Static.discover(%State{config: [nodes: ["a@x"]]})
      assert {:error, {:not_node_names, :a}} = Static.discover(%State{config: [nodes: :a]})
    end

    test "Epmd: nodes by name, and an error where no host answers" do
      assert {:ok, [:a@x, :b@y], _} = Epmd.discover(%State{config: [hosts: [:a@x, "b@y"]]})

      assert {:error, {:epmd, [{"no.such.host.invalid", _}]}, state} =
               Epmd.discover(%State{config: [hosts: ["no.such.host.invalid"]]})

      # What was known of a host that does not answer now is kept.
      state = %{
        state
        | meta: %{~c"no.such.host.invalid" => [:old@x]},
          config: [hosts: ["no.such.host.invalid", :a@x]]
      }

      assert {:ok, found, _} = Epmd.discover(state)
      assert Enum.sort(found) == [:a@x, :old@x]
    end

    test "ErlangHosts: no file is an error" do
      assert {:error, {:hosts_file, _}} = ErlangHosts.discover(%State{config: []})
    end
  end
end
