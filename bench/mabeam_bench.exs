Code.require_file("support.exs", __DIR__)

defmodule Foundation.MabeamBench do
  # Agents: what one costs in memory against a bare GenServer, what a request costs against a GenServer call, how long a
  # vote takes against asking the agents by hand, and how much one session at a time, or many, get done.
  # `mix run bench/mabeam_bench.exs committed`: only what a variable costs that three nodes agree on.
  alias Foundation.{Bench, MABEAM, PeerNodes}
  alias Foundation.Distributed.Consensus
  alias Foundation.Distributed.Coordination, as: Group
  alias Foundation.MABEAM.{AgentRegistry, Comms, Coordination, Core}

  defmodule Voter do
    use Foundation.MABEAM.Agent

    @impl true
    def init(choice), do: {:ok, choice}
    @impl true
    def handle_vote(_ballot, choice), do: {:vote, choice, choice}
    @impl true
    def handle_task(task, choice), do: {:ok, task, choice}
  end

  defmodule Bare do
    use GenServer

    @impl true
    def init(choice), do: {:ok, choice}
    @impl true
    def handle_call(_ballot, _from, choice), do: {:reply, choice, choice}
  end

  @agents 1_000

  def run(["committed"]), do: with_mabeam(&committed/0)
  def run(_arguments), do: with_mabeam(&all/0)

  defp with_mabeam(bench) do
    Logger.configure(level: :warning)
    {:ok, _} = MABEAM.start()
    bench.()
    MABEAM.stop()
  end

  defp all do
    memory()
    request()
    vote()
    sessions()
    variable()
    assignment()
    optimiser()
    committed()
  end

  # All that the VM has more, tables included, after everyone sleeps.
  defp memory do
    count = 5_000
    bare = grown(fn -> for n <- 1..count, do: GenServer.start(Bare, rem(n, 2), hibernate_after: 1) end)

    agents =
      grown(fn ->
        for n <- 1..count do
          id = "idle-#{n}"
          :ok = AgentRegistry.register_agent(id, module: Voter, args: rem(n, 2))
          :ok = AgentRegistry.start_agent(id)
        end
      end)

    each = (agents - bare) / count
    Bench.figure("memory of an idle agent over a bare GenServer", "#{round(each)} bytes", "at most 4096")
    for n <- 1..count, do: :ok = AgentRegistry.deregister_agent("idle-#{n}")
  end

  defp grown(start) do
    settle()
    before = :erlang.memory(:total)
    start.()
    settle()
    :erlang.memory(:total) - before
  end

  # Agents hibernate two seconds after their last work.
  defp settle do
    Process.sleep(3_000)
    for pid <- Process.list(), do: :erlang.garbage_collect(pid, type: :major)
    Process.sleep(200)
  end

  defp voters(count) do
    for n <- 1..count do
      id = "voter-#{n}"
      :ok = AgentRegistry.register_agent(id, module: Voter, args: if(rem(n, 3) == 0, do: :b, else: :a))
      :ok = AgentRegistry.start_agent(id)
      id
    end
  end

  defp request do
    [id] = voters(1)
    {:ok, bare} = GenServer.start(Bare, :a)

    Bench.compare("a request to an agent against GenServer.call",
      ours: fn i -> {:ok, {:done, ^i}} = Comms.request(id, {:task, i}) end,
      theirs: fn i -> :a = GenServer.call(bare, i) end,
      iterations: 20_000
    )

    AgentRegistry.deregister_agent(id)
  end

  defp vote do
    agents = voters(@agents)
    problem = %{question: "which?", options: [:a, :b]}
    bare = for n <- 1..@agents, do: elem(GenServer.start(Bare, if(rem(n, 3) == 0, do: :b, else: :a)), 1)

    times =
      for _ <- 1..21 do
        {us, {:ok, outcome}} = :timer.tc(fn -> Coordination.coordinate(:majority, agents, problem) end)
        %{decision: :a, detail: %{tally: %{a: 667, b: 333}}} = outcome
        us
      end

    Bench.figure(
      "majority vote of #{@agents} agents, end to end",
      "#{Bench.median(times) / 1000} ms",
      "at most 50 ms"
    )

    Bench.compare("majority vote of #{@agents} agents against Task.async_stream of calls",
      ours: fn _ -> {:ok, %{decision: :a}} = Coordination.coordinate(:majority, agents, problem) end,
      theirs: fn _ ->
        votes =
          bare
          |> Task.async_stream(&GenServer.call(&1, problem), max_concurrency: 100)
          |> Enum.frequencies_by(fn {:ok, vote} -> vote end)

        667 = votes.a
      end,
      iterations: 10
    )
  end

  defp sessions do
    agents = for n <- 1..10, do: "voter-#{n}"
    problem = %{question: "which?", options: [:a, :b]}

    {us, _} =
      :timer.tc(fn ->
        for(
          _ <- 1..1_000,
          do: elem(Coordination.coordinate(:majority, agents, problem, async: true, timeout: 60_000), 1)
        )
        |> Enum.each(fn id -> {:ok, %{decision: :a}} = Coordination.await(id, 60_000) end)
      end)

    Bench.figure("1,000 sessions of 10 agents at once", "#{round(us / 1000)} ms in all")
  end

  defp variable do
    :ok = Core.register_variable(name: :bench, type: :numeric, value: 0)

    Bench.compare("a variable read against Agent.get",
      ours: fn _ -> {:ok, _} = Core.get_variable(:bench) end,
      theirs: agent(),
      iterations: 20_000
    )

    ns = Bench.run(fn i -> {:ok, _} = Core.update_variable(:bench, i, :ann) end, 20_000)
    Bench.figure("a variable updated", Bench.nanoseconds(ns))
  end

  # Three nodes, logs on disk with fsync, this one leads: what MABEAM adds to a bare proposal.
  defp committed do
    dir = Path.join(System.tmp_dir!(), "foundation_mabeam_bench_#{System.pid()}")
    File.mkdir_p!(dir)
    PeerNodes.ensure_distributed()
    Application.put_env(:foundation, :consensus, dir: Path.join(dir, "here"))
    peers = PeerNodes.start(2, app: false)

    try do
      for %{peer: peer, node: node} <- peers do
        consensus = [dir: Path.join(dir, "#{node}")]
        :ok = :peer.call(peer, Application, :put_env, [:foundation, :consensus, consensus])
        {:ok, _} = :peer.call(peer, Application, :ensure_all_started, [:foundation], 60_000)
      end

      {:ok, group} =
        Group.create_consensus_group(Consensus.default_group(), [node() | Enum.map(peers, & &1.node)])

      lead(group)
      {:ok, members} = Consensus.members(group)
      3 = length(members)
      compare_committed(group)
    after
      Consensus.stop_group(Consensus.default_group())
      PeerNodes.leave(peers)
      File.rm_rf!(dir)
    end
  end

  defp compare_committed(group) do
    :ok = Core.register_variable(name: :agreed, conflict: :consensus, value: 0)

    Bench.compare("a consensus-committed variable update on three nodes against a bare proposal",
      ours: fn i -> {:ok, _} = Core.update_variable(:agreed, i, :ann) end,
      theirs: fn i -> {:ok, _} = Consensus.propose(group, {:put, :bare, i}) end,
      iterations: 500,
      at_most: 1.5
    )

    {:ok, value} = Core.get_variable(:agreed)
    true = is_integer(value) and value > 0
  end

  defp lead(group) do
    case Consensus.leader(group) do
      {:ok, node} when node == node() -> :ok
      {:ok, _other} -> Consensus.transfer_leadership(group, node(), 10_000)
      _ -> :wait
    end

    unless Consensus.leader(group) == {:ok, node()} do
      Process.sleep(50)
      lead(group)
    end
  end

  # Through the Elixir API, lists of numbers and all; checked against the other method.
  defp assignment do
    alias Foundation.MABEAM.Coordination.Assignment
    :rand.seed(:exsss, {1, 2, 3})
    rows = for _ <- 1..1_000, do: for(_ <- 1..1_000, do: :rand.uniform(1_000_000))
    {:ok, %{cost: least}} = Assignment.matrix(rows, method: :auction)

    times =
      for _ <- 1..5 do
        {us, {:ok, %{cost: ^least, gap: 0}}} = :timer.tc(fn -> Assignment.matrix(rows) end)
        us
      end

    Bench.figure("assignment of 1,000 x 1,000, optimal", "#{Bench.median(times) / 1000} ms", "at most 500 ms")

    costs =
      for {row, n} <- Enum.with_index(rows),
          into: %{},
          do: {n, row |> Enum.with_index(&{&2, &1}) |> Map.new()}

    {us, {:ok, %{cost: ^least}}} = :timer.tc(fn -> Assignment.solve(costs) end)
    Bench.figure("the same by names", "#{us / 1000} ms")
  end

  defp optimiser do
    alias Foundation.MABEAM.Core.Optimizer
    :ok = Core.register_variable(name: :tuned, type: :choice, options: Enum.to_list(1..10))
    :ok = Optimizer.attach(:tuned, :ucb1)

    step = fn _ ->
      {:ok, %{id: id, value: value}} = Optimizer.suggest(:tuned, :ann)
      {:ok, _} = Optimizer.report(:tuned, id, value / 10, :ann)
    end

    ns = Bench.run(step, 2_000, 1)
    {:ok, 10} = Core.get_variable(:tuned)
    Bench.figure("a suggestion and its reward, a bandit of ten", Bench.nanoseconds(ns))
  end

  defp agent do
    {:ok, pid} = Agent.start(fn -> 0 end)
    fn _ -> 0 = Agent.get(pid, & &1) end
  end
end

Foundation.MabeamBench.run(System.argv())
