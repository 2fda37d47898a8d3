defmodule Foundation.MABEAM.Coordination.AveragingTest do
  use ExUnit.Case, async: false

  import Foundation.MabeamAgents

  alias Foundation.MABEAM
  alias Foundation.MABEAM.Coordination.Averaging
  alias Foundation.MABEAM.Coordination.Averaging.Flow

  # Nodes that exchange by messages of which some are lost, come twice, or late; the seed says which.
  defmodule Net do
    def new(count, seed) do
      :rand.seed(:exsss, {seed, seed, seed})
      nodes = Map.new(1..count, &{&1, Flow.new([:rand.uniform() * 100, 1.0])})
      %{nodes: nodes, later: []}
    end

    def mean(net), do: ratio(for {_, %{value: value}} <- net.nodes, do: value)
    def held(net), do: ratio(for {_, flow} <- net.nodes, do: Flow.has(flow))
    def errors(net, mean), do: for({_, flow} <- net.nodes, do: abs(hd(Flow.estimate(flow)) - mean))

    defp ratio(amounts) do
      [sum, weight] = Enum.zip_with(amounts, &Enum.sum/1)
      sum / weight
    end

    def step(net, loss) do
      ids = Map.keys(net.nodes)

      Enum.reduce(ids, net, fn id, net ->
        {peer, message, flow} = Flow.ask(net.nodes[id], fn -> Enum.random(ids -- [id]) end)
        deliver(put_in(net.nodes[id], flow), id, peer, message, loss)
      end)
      |> late(loss)
    end

    defp late(net, loss) do
      Enum.reduce(net.later, %{net | later: []}, fn {from, to, message}, net ->
        deliver(net, from, to, message, loss)
      end)
    end

    defp deliver(net, from, to, message, loss) do
      luck = :rand.uniform()

      cond do
        not is_map_key(net.nodes, to) -> net
        luck < loss -> net
        luck < 1.5 * loss -> %{net | later: [{from, to, message} | net.later]}
        luck < 2 * loss -> net |> take(from, to, message, loss) |> take(from, to, message, loss)
        true -> take(net, from, to, message, loss)
      end
    end

    defp take(net, from, to, message, loss) do
      {answer, flow} = Flow.take(net.nodes[to], from, message)
      net = put_in(net.nodes[to], flow)
      if answer, do: deliver(net, to, from, answer, loss), else: net
    end

    def kill(net, id) do
      nodes = net.nodes |> Map.delete(id) |> Map.new(fn {other, flow} -> {other, Flow.drop(flow, id)} end)
      %{nodes: nodes, later: Enum.reject(net.later, fn {from, to, _} -> id in [from, to] end)}
    end
  end

  defp steps(net, count, loss), do: Enum.reduce(1..count, net, fn _, net -> Net.step(net, loss) end)

  describe "the exchange" do
    test "keeps all of it, and comes near the average in as many steps as the logarithm says" do
      for {count, seed} <- [{2, 1}, {10, 2}, {300, 3}, {1_000, 4}] do
        net = Net.new(count, seed)
        mean = Net.mean(net)
        # Each step leaves 0.3 of the variance (Jelasity et al. 2005); twice as many are certain.
        net = steps(net, 25, 0.0)
        assert_in_delta Net.held(net), mean, 1.0e-6
        assert Enum.max(Net.errors(net, mean)) < 0.01
        net = steps(net, 25, 0.0)
        assert Enum.max(Net.errors(net, mean)) < 1.0e-6
      end
    end

    test "loses nothing by messages that are lost, doubled or late" do
      for seed <- 1..10 do
        net = Net.new(40, seed)
        mean = Net.mean(net)
        net = steps(net, 200, 0.2)
        assert Enum.max(Net.errors(net, mean)) < 1.0e-3
      end
    end

    test "a node that dies takes its own along and nothing else" do
      net = Net.new(50, 7) |> steps(20, 0.1)
      net = Enum.reduce(1..10, net, &Net.kill(&2, &1))
      mean = Net.mean(net)
      assert map_size(net.nodes) == 40
      net = steps(net, 100, 0.1)
      assert Enum.max(Net.errors(net, mean)) < 1.0e-3
    end

    test "who comes later is counted" do
      net = Net.new(20, 9) |> steps(20, 0.0)
      net = put_in(net.nodes[21], Flow.add(Flow.empty(1), [1_000.0, 1.0])) |> steps(40, 0.0)
      assert Enum.max(Net.errors(net, Net.mean(net))) < 1.0e-4
      assert Flow.estimate(Flow.empty(1)) == nil
    end
  end

  describe "agents of one node" do
    setup do
      {:ok, _} = MABEAM.start()
      on_exit(&Foundation.MabeamAgents.stop/0)
    end

    test "say what they have; who says nothing, or nonsense, is not counted" do
      agents = start_many(10, fn n -> %{proposal: {:say, n * 1.0}} end)
      others = [start(:none, %{proposal: {:say, :reject}}), start(:odd, %{proposal: {:say, :nan}}), :nobody]
      assert {:ok, result} = Averaging.average(agents ++ others, %{question: "how many?"}, steps: 3)
      assert_in_delta result.average, 5.5, 1.0e-9
      assert {result.count, result.error, result.nodes, result.missing} == {10, 0.0, 1, []}
      assert result.failed[:not_found] == 1
      assert {:ok, %{done: true, average: average}} = Averaging.result(result.id)
      assert average == result.average
      assert {:error, {:no_numbers, %{not_found: 1}}} = Averaging.average([:nobody], %{}, steps: 1)
      assert {:error, {:invalid, _}} = Averaging.average(agents, :no_problem)
      assert {:error, :not_found} = Averaging.result("none")
      assert_raise ArgumentError, ~r/agents/, fn -> Averaging.average([], %{}) end
      assert_raise ArgumentError, ~r/steps/, fn -> Averaging.average(agents, %{}, steps: 0) end
      assert_raise ArgumentError, ~r/pace/, fn -> Averaging.average(agents, %{}, pace: 1) end
    end

    test "vote; who abstains, or votes for nothing there is, is not counted" do
      voters =
        for {option, n} <- Enum.with_index([:a, :b, :b, :b, :c]),
            do: start("voter #{n}", %{vote: {:say, option}})

      others = [start(:silent, %{vote: {:say, :abstain}}), start(:stray, %{vote: {:say, :z}}), :nobody]
      ballot = %{question: "which?", options: [:a, :b, :c]}
      assert {:ok, result} = Averaging.vote(voters ++ others, ballot, steps: 3)
      assert {result.decision, result.count, result.failed[:not_found]} == {:b, 5, 1}
      assert result.shares == %{a: 0.2, b: 0.6, c: 0.2}
      assert {:ok, %{done: true, shares: shares}} = Averaging.result(result.id)
      assert shares == result.shares
      assert {:error, {:undecided, even}} = Averaging.vote(Enum.take(voters, 2), ballot, steps: 1)
      assert even.shares == %{a: 0.5, b: 0.5, c: 0.0}
      assert {:error, {:no_numbers, _}} = Averaging.vote([:nobody], ballot, steps: 1)
      assert {:error, {:invalid, _}} = Averaging.vote(voters, %{options: []})
    end

    test "rubbish to the process is dropped" do
      pid = Process.whereis(Averaging.Server)

      for bad <- [:x, {:average, "none", node(), :x}, {:step, 1}, {:forget, nil}, {make_ref(), :y}],
          do: send(pid, bad)

      assert {:error, :unknown_request} = GenServer.call(pid, :nonsense)
      GenServer.cast(pid, :nonsense)
      assert {:error, :not_found} = Averaging.result("none")
      assert Process.whereis(Averaging.Server) == pid
    end
  end
end
