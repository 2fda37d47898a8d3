defmodule Foundation.MABEAM.CommsTest do
  use ExUnit.Case, async: false

  import Foundation.Eventually
  import Foundation.MabeamAgents

  require Foundation.Distributed.Context, as: Context

  alias Foundation.MABEAM
  alias Foundation.MABEAM.{Agent, AgentRegistry, Comms}

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  def trace(_input), do: {Context.trace_id(), Context.current()}
  def left(_input), do: Agent.time_left()

  describe "request" do
    test "brings each kind of reply" do
      start(:a, %{vote: {:say, :x}, bid: {:say, 7}, variable: {:say, 2}, utility: {:say, 0.5}})
      assert {:ok, {:vote, :x}} = Comms.request(:a, {:vote, nil})
      assert {:ok, {:bid, 7}} = Comms.request(:a, {:bid, nil})
      assert {:ok, {:propose, 2}} = Comms.request(:a, {:variable, {:v, 1}})
      assert {:ok, {:utility, 0.5}} = Comms.request(:a, {:utility, :o})
      assert {:ok, :accept} = Comms.request(:a, {:proposal, :p})
      start(:b, %{proposal: {:say, :reject}})
      assert {:ok, {:reject, :no}} = Comms.request(:b, {:proposal, :p})
      assert {:ok, :abstain} = Comms.request(:b, {:vote, nil})
      assert {:ok, :no_bid} = Comms.request(:b, {:bid, nil})
    end

    test "is not done after its time" do
      held_up = %{proposal: {:say, {Foundation.MabeamAgents, :waits, [:not_done_late, :accept]}}}
      start(:a, held_up, callback_timeout: :infinity)
      spawn(fn -> Comms.request(:a, {:proposal, 1}) end)
      assert_eventually(elem(AgentRegistry.get_agent_info(:a), 1).busy_ms > 0)
      assert {:error, :timeout} = Comms.request(:a, {:task, :late}, timeout: 20)
      go(:not_done_late)
      assert {:ok, {:done, {1, :x}}} = Comms.request(:a, {:task, :x})
      refute_receive {_, {:answer, _, _}}, 10
    end

    test "with a correlation id is done once" do
      start(:a)

      for _ <- 1..3,
          do: assert({:ok, {:done, {1, _}}} = Comms.request(:a, {:task, :x}, correlation_id: "one"))

      assert {:ok, {:done, {2, :x}}} = Comms.request(:a, {:task, :x}, correlation_id: "two")
      assert {:ok, {:done, {3, :x}}} = Comms.request(:a, {:task, :x})
    end

    test "to an agent whose mailbox is full is refused at once" do
      start(:a, %{proposal: {:stall, 60_000}}, max_mailbox: 3, callback_timeout: :infinity)
      spawn(fn -> Comms.request(:a, {:proposal, 1}) end)
      assert_eventually(elem(AgentRegistry.get_agent_info(:a), 1).busy_ms > 0)
      for _ <- 1..3, do: assert(:ok = Comms.notify(:a, :event))
      assert {:error, :busy} = Comms.request(:a, {:task, 1})
      assert {:error, :busy} = Comms.notify(:a, :event)
      Process.exit(pid(:a), :kill)
    end

    test "runs in the context of who asked, and with no other" do
      start(:a, %{task: {:say, {__MODULE__, :trace, []}}})

      Context.with_global_context %{user: 7} do
        own = Context.trace_id()
        assert {:ok, {:done, {^own, %{user: 7}}}} = Comms.request(:a, {:task, 1})
      end

      assert {:ok, {:done, {nil, context}}} = Comms.request(:a, {:task, 1})
      assert context == %{}
    end

    test "in a callback ends when that is due" do
      start(:inner, %{task: {:say, {__MODULE__, :left, []}}})
      start(:outer, %{task: {:ask, :inner, {:task, 1}}})
      assert {:ok, {:done, {:ok, {:done, left}}}} = Comms.request(:outer, {:task, 1}, timeout: 4_000)
      assert left in 1..4_000
    end

    test "that comes back to an agent is refused, however long the way" do
      start(:a, %{task: {:ask, :b, {:task, 1}}})
      start(:b, %{task: {:ask, :c, {:task, 1}}})
      start(:c, %{task: {:ask, :a, {:task, 1}}})
      assert {:ok, {:done, {:ok, {:done, {:ok, {:done, answer}}}}}} = Comms.request(:a, {:task, 1})
      assert answer == {:error, {:cycle, [:a, :b, :c, :a]}}
      start(:self, %{task: {:ask, :self, {:task, 1}}})
      assert {:ok, {:done, {:error, {:cycle, [:self, :self]}}}} = Comms.request(:self, {:task, 1})
    end

    test "carries what it cost to who asked" do
      start(:inner, %{task: {:spend, %{tokens: 30, money: 5}, :done}})
      start(:outer, %{vote: {:ask, :inner, {:task, 1}}})
      assert {:ok, {:vote, {:ok, {:done, :done}}}} = Comms.request(:outer, {:vote, 1})
      assert {:ok, %{spent: %{tokens: 30, money: 5}}} = AgentRegistry.get_agent_info(:inner)
      assert {:ok, %{spent: %{tokens: 0, money: 0}}} = AgentRegistry.get_agent_info(:outer)

      assert {:ok, %{cost: %{tokens: 30, money: 5}}} =
               MABEAM.Coordination.coordinate(:majority, [:outer], %{options: [{:ok, {:done, :done}}]})
    end
  end

  test "a budget holds over all lives" do
    start(:a, %{task: {:spend, %{tokens: 40}, :done}}, resources: %{tokens: 100}, backoff: {1, 1})
    assert {:ok, {:done, :done}} = Comms.request(:a, {:task, 1})
    first = pid(:a)
    Process.exit(first, :kill)
    assert_eventually(status(:a) == :running and pid(:a) != first)
    assert {:ok, {:done, :done}} = Comms.request(:a, {:task, 1})
    assert {:error, {:bad_return, :handle_task}} = Comms.request(:a, {:task, 1})
    assert {:ok, %{spent: %{tokens: 80}}} = AgentRegistry.get_agent_info(:a)
  end

  test "spending is for callbacks, and in whole numbers" do
    assert {:error, :not_in_callback} = Agent.spend(tokens: 1)
    assert_raise ArgumentError, fn -> Agent.spend(tokens: 1.5) end
    assert_raise ArgumentError, fn -> Agent.spend(money: -1) end
    assert_raise ArgumentError, fn -> Agent.spend(gold: 1) end
  end

  describe "events" do
    setup do
      Process.register(self(), :comms_test)
      start(:a, %{event: {:tell, :comms_test}}, capabilities: [:hears])
      start(:b, %{event: {:tell, :comms_test}}, capabilities: [:hears])
      :ok
    end

    test "reach one, several, all that fit, and those who listen" do
      assert :ok = Comms.notify(:a, 1)
      assert_receive {:heard, :a, 1}
      assert {:ok, %{told: 2, refused: %{c: :not_found}}} = Comms.multicast([:a, :b, :a, :c], 2)
      assert_receive {:heard, :a, 2}
      assert_receive {:heard, :b, 2}
      assert {:ok, %{told: 2, refused: none}} = Comms.broadcast([capabilities: [:hears]], 3)
      assert none == %{}
      assert_receive {:heard, :a, 3}
      assert_receive {:heard, :b, 3}
      assert :ok = Comms.subscribe(:b, "news")
      assert {:ok, %{local: 1}} = Comms.publish_event("news", 4)
      assert_receive {:heard, :b, 4}
      assert :ok = Comms.unsubscribe(:b, "news")
      assert {:ok, %{local: 0}} = Comms.publish_event("news", 5)
      refute_receive {:heard, _, _}, 20
    end

    test "of an agent that is gone are no longer for it" do
      :ok = Comms.subscribe(:b, :news)
      :ok = AgentRegistry.deregister_agent(:b)
      assert {:ok, %{local: 0}} = Comms.publish_event(:news, 1)
      assert {:error, :not_found} = Comms.subscribe(:b, :news)
    end
  end

  test "arguments that cannot be right are named" do
    assert_raise ArgumentError, ~r/agent id/, fn -> Comms.request(7, {:task, 1}) end
    assert_raise ArgumentError, ~r/kind/, fn -> Comms.request(:a, {:command, 1}) end
    assert_raise ArgumentError, ~r/timeout/, fn -> Comms.request(:a, {:task, 1}, timeout: -1) end
    assert_raise ArgumentError, ~r/scope/, fn -> Comms.publish_event(:t, 1, scope: :world) end
  end
end
