defmodule Foundation.MABEAM.LoadBalancerTest do
  use ExUnit.Case, async: false

  import Foundation.Eventually
  import Foundation.MabeamAgents

  alias Foundation.MABEAM
  alias Foundation.MABEAM.{AgentRegistry, Comms, LoadBalancer}

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  describe "the load balancer" do
    setup do
      for id <- [:a, :b, :c],
          do:
            start(id, %{proposal: {:stall, 60_000}},
              capabilities: [:work],
              max_mailbox: 2,
              callback_timeout: :infinity
            )

      start(:other)
      :ok
    end

    defp occupy(id, waiting) do
      ask = fn -> spawn(fn -> Comms.request(id, {:proposal, 1}) end) end
      ask.()
      assert_eventually(LoadBalancer.loads(capabilities: [:work])[id] == 1)
      for _ <- 1..waiting//1, do: ask.()
      assert_eventually(LoadBalancer.loads(capabilities: [:work])[id] == waiting + 1)
    end

    test "takes who has the least to do" do
      occupy(:a, 1)
      occupy(:b, 0)
      assert LoadBalancer.loads(capabilities: [:work]) == %{a: 2, b: 1, c: 0}

      for _ <- 1..10 do
        assert {:ok, :c} = LoadBalancer.choose(capabilities: [:work])
        assert {:ok, id} = LoadBalancer.choose([capabilities: [:work]], strategy: :two_choices)
        assert id in [:b, :c]
      end

      assert {:ok, :c, {:done, _}} = LoadBalancer.request([capabilities: [:work]], {:task, 1})
      assert {:error, :no_agent} = LoadBalancer.choose(capabilities: [:fly])
      assert {:error, :no_agent} = LoadBalancer.request([capabilities: [:fly]], {:task, 1})
      assert_raise ArgumentError, ~r/strategy/, fn -> LoadBalancer.choose([], strategy: :dice) end
    end

    test "goes on to the next when one is full, and says when all are" do
      for id <- [:a, :b, :c], do: occupy(id, 2)
      assert {:error, {:all_refused, refused}} = LoadBalancer.request([capabilities: [:work]], {:task, 1})
      assert refused == %{a: :busy, b: :busy, c: :busy}
    end

    test "spreads evenly by turns, and knows only those that run" do
      chosen =
        for _ <- 1..30, do: elem(LoadBalancer.choose([capabilities: [:work]], strategy: :round_robin), 1)

      assert chosen |> Enum.uniq() |> Enum.sort() == [:a, :b, :c]
      :ok = AgentRegistry.stop_agent(:a)
      assert LoadBalancer.loads(capabilities: [:work], node: :all) == %{b: 0, c: 0}
    end
  end
end
