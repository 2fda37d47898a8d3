defmodule Foundation.MABEAM.CoreTest do
  use ExUnit.Case, async: false

  import Foundation.Eventually
  import Foundation.MabeamAgents

  alias Foundation.MABEAM
  alias Foundation.MABEAM.{Comms, Core}

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  def higher([%{value: one}, %{value: other}]), do: {:ok, max(one, other)}
  def highest(proposals), do: {:ok, proposals |> Enum.map(& &1.value) |> Enum.max()}
  def refuse(_proposals), do: {:error, :refused}
  def crash(_proposals), do: raise("x")
  def set(_task, by, name), do: Core.update_variable(name, :set, by)

  describe "a variable" do
    test "is read and changed, with versions and a history" do
      assert :ok = Core.register_variable(name: :v, value: 1, history: 3)
      assert {:error, :already_registered} = Core.register_variable(name: :v)
      assert {:ok, 1} = Core.get_variable(:v)
      assert {:ok, 2} = Core.update_variable(:v, "two", :ann)
      assert {:ok, "two", 2} = Core.get_version(:v)
      assert {:ok, 3} = Core.update_variable(:v, 3, "bob", expected_version: 2)

      assert {:error, {:conflict, %{version: 3, value: 3}}} =
               Core.update_variable(:v, 4, :ann, expected_version: 2)

      assert {:ok, 4} = Core.update_variable(:v, 4, :ann)

      assert {:ok,
              [%{value: 4, by: :ann, version: 4, how: :updated}, %{value: 3, by: "bob"}, %{value: "two"}]} =
               Core.history(:v)

      assert {:ok, [%{value: 4}]} = Core.history(:v, limit: 1)
      assert :ok = Core.delete_variable(:v, :ann)

      for read <- [&Core.get_variable/1, &Core.history/1, &Core.subscribe/1],
          do: assert({:error, :not_found} = read.(:v))

      assert {:error, :not_found} = Core.update_variable(:v, 1, :ann)
    end

    test "holds what its type allows" do
      :ok = Core.register_variable(name: :n, type: :numeric, min: 0, max: 10, value: 5)
      assert {:error, {:invalid, %{field: :value}}} = Core.update_variable(:n, 11, :ann)
      assert {:error, {:invalid, %{field: :value}}} = Core.update_variable(:n, :nan, :ann)
      assert {:ok, 5} = Core.get_variable(:n)
      assert {:error, {:invalid, %{field: :type}}} = Core.register_variable(name: :m, type: :colour)
      assert_raise ArgumentError, ~r/agent id/, fn -> Core.update_variable(:n, 1, 7) end

      assert_raise ArgumentError, ~r/expected_version/, fn ->
        Core.update_variable(:n, 1, :a, expected_version: 0)
      end
    end

    test "tells those who listen, until they are gone" do
      :ok = Core.register_variable(name: :v, value: 1)
      assert :ok = Core.subscribe(:v)
      assert :ok = Core.subscribe(:v)
      {:ok, 2} = Core.update_variable(:v, 2, :ann)
      assert_receive {:mabeam_variable, :v, %{value: 2, version: 2, by: :ann, how: :updated}}
      :ok = Core.delete_variable(:v, :ann)
      assert_receive {:mabeam_variable, :v, %{how: :deleted}}
      refute_receive {:mabeam_variable, _, _}, 10
      :ok = Core.register_variable(name: :w)
      Task.await(Task.async(fn -> Core.subscribe(:w) end))
      assert_eventually(:sys.get_state(Core.Server).listeners[:w] == nil)
    end

    test "loses no change of many at once" do
      :ok = Core.register_variable(name: :count, type: :numeric, history: 1_000)

      add = fn add ->
        {:ok, value, version} = Core.get_version(:count)

        with {:error, {:conflict, _}} <-
               Core.update_variable(:count, value + 1, :ann, expected_version: version),
             do: add.(add)
      end

      1..8 |> Enum.map(fn _ -> Task.async(fn -> for _ <- 1..50, do: add.(add) end) end) |> Task.await_many()
      assert {:ok, 400, 401} = Core.get_version(:count)
      assert {:ok, history} = Core.history(:count, limit: 1_000)
      assert Enum.map(history, & &1.version) == Enum.to_list(401..1//-1)
    end
  end

  describe "access" do
    test "is for those named, or those who can" do
      start(:able, %{}, capabilities: [:steer, :brake])
      start(:half, %{}, capabilities: [:steer])
      :ok = Core.register_variable(name: :named, access: {:agents, [:ann, "bob"]})
      :ok = Core.register_variable(name: :able, access: {:capabilities, [:steer, :brake]})
      assert {:ok, 2} = Core.update_variable(:named, 1, "bob")

      for who <- [:bob, :able, :system],
          do: assert({:error, :forbidden} = Core.update_variable(:named, 1, who))

      assert {:error, :forbidden} = Core.delete_variable(:named, :cec)
      assert {:ok, 2} = Core.update_variable(:able, 1, :able)
      for who <- [:half, :nobody], do: assert({:error, :forbidden} = Core.update_variable(:able, 1, who))
    end

    test "is not had by another's name from within an agent" do
      :ok = Core.register_variable(name: :v, access: {:agents, [:ann]})
      start(:ann, %{task: {:say, {__MODULE__, :set, [:ann, :v]}}})
      start(:eve, %{task: {:say, {__MODULE__, :set, [:ann, :v]}}})
      assert {:ok, {:done, {:error, :not_yourself}}} = Comms.request(:eve, {:task, 1})
      assert {:ok, {:done, {:ok, 2}}} = Comms.request(:ann, {:task, 1})
    end
  end

  describe "conflict" do
    test "by priority: the lower do not overrule the higher" do
      :ok = Core.register_variable(name: :v, conflict: {:priority, [:boss, :deputy]})
      assert {:ok, 2} = Core.update_variable(:v, 1, :worker)
      assert {:ok, 3} = Core.update_variable(:v, 2, :deputy)
      assert {:error, {:outranked, :deputy}} = Core.update_variable(:v, 3, :worker)
      assert {:ok, 4} = Core.update_variable(:v, 4, :boss)
      assert {:error, {:outranked, :boss}} = Core.update_variable(:v, 5, :deputy)
      assert {:ok, 4} = Core.get_variable(:v)
    end

    test "by a function, which may refuse, or fail" do
      for {name, function} <- [most: :higher, no: :refuse, bad: :crash],
          do: :ok = Core.register_variable(name: name, value: 5, conflict: {:custom, __MODULE__, function})

      assert {:ok, 2} = Core.update_variable(:most, 3, :ann)
      assert {:ok, 5} = Core.get_variable(:most)
      assert {:ok, 3} = Core.update_variable(:most, 8, :ann)
      assert {:ok, 8} = Core.get_variable(:most)
      assert {:error, :refused} = Core.update_variable(:no, 8, :ann)
      assert {:error, {:crashed, _}} = Core.update_variable(:bad, 8, :ann)

      1..200 |> Task.async_stream(&Core.update_variable(:most, &1, :ann), max_concurrency: 4) |> Stream.run()
      assert {:ok, 200} = Core.get_variable(:most)
    end

    test ":crdt keeps changes of different parts" do
      :ok =
        Core.register_variable(name: {:x, 1} |> inspect(), type: :allocation, conflict: :crdt, value: %{a: 1})

      name = inspect({:x, 1})
      assert {:ok, _} = Core.update_variable(name, %{a: 1, b: 2}, :ann)
      assert {:ok, %{a: 1, b: 2}} = Core.get_variable(name)
      assert {:ok, _} = Core.update_variable(name, %{b: 3}, :ann)
      assert {:ok, value} = Core.get_variable(name)
      assert value == %{b: 3}
      assert :ok = Core.delete_variable(name, :ann)

      assert {:error, {:invalid, %{field: :conflict}}} =
               Core.register_variable(name: :t, type: :allocation, total: 5, conflict: :crdt)
    end

    test "a change by a function undoes nothing that others change meanwhile" do
      for conflict <- [:last_write_wins, {:priority, [:ann]}, :crdt, :consensus] do
        name = "parts-#{inspect(conflict)}-#{System.unique_integer([:positive])}"
        assert :ok = Core.register_variable(name: name, type: :allocation, conflict: conflict, value: %{a: 1})
        test = self()

        add_b = fn value ->
          if conflict == :crdt or Process.put(:was_here, true) == nil,
            do: {:ok, _} = Core.change_variable(name, &Map.put(&1, :c, 3), :ann)

          send(test, {:saw, value})
          Map.put(value, :b, 2)
        end

        Process.delete(:was_here)
        assert {:ok, _} = Core.change_variable(name, add_b, :ann)
        assert Core.get_variable(name) == {:ok, %{a: 1, b: 2, c: 3}}
        assert_received {:saw, %{a: 1}}
        assert {:ok, _} = Core.change_variable(name, &Map.delete(&1, :b), :ann)
        assert Core.get_variable(name) == {:ok, %{a: 1, c: 3}}
        assert {:error, {:invalid, _}} = Core.change_variable(name, fn _ -> :nothing end, :ann)
        assert :ok = Core.delete_variable(name, :ann)
      end

      assert {:error, :not_found} = Core.change_variable(:nobody, & &1, :ann)
    end

    test ":consensus is one value for the cluster" do
      name = "agreed-#{System.unique_integer([:positive])}"
      assert :ok = Core.register_variable(name: name, value: 1, conflict: :consensus)
      assert :ok = Core.subscribe(name)
      assert {:ok, 1, version} = Core.get_version(name)
      assert {:ok, next} = Core.update_variable(name, 2, :ann, expected_version: version)
      assert next > version
      assert_receive {:mabeam_variable, ^name, %{value: 2, version: ^next, by: :ann}}

      assert {:error, {:conflict, %{version: ^next, value: 2}}} =
               Core.update_variable(name, 3, :bob, expected_version: version)

      assert {:ok, 2} = Core.get_variable(name)
      assert :ok = Core.delete_variable(name, :ann)
    end
  end

  describe "coordinate" do
    test "makes one value of what agents wish" do
      start(:a, %{variable: {:say, 7}})
      start(:b, %{variable: {:say, 9}})
      start(:c)
      start(:d, %{variable: {:say, 1_000}})
      agents = [:a, :b, :c, :d, :nobody]

      for {conflict, value} <- [
            {{:priority, [:b, :a]}, 9},
            {{:priority, [:c]}, 5},
            {{:custom, __MODULE__, :highest}, 9},
            {:crdt, 7}
          ] do
        name = inspect(conflict)

        :ok =
          Core.register_variable(
            name: name,
            type: :numeric,
            max: 100,
            value: 5,
            conflict: conflict,
            agents: agents
          )

        assert {:ok, %{value: ^value, version: 2, outcome: outcome}} = Core.coordinate(name)
        assert {:ok, ^value} = Core.get_variable(name)
        assert outcome.failures == %{d: {:invalid, :not_a_value}, nobody: :not_found}
      end

      :ok = Core.register_variable(name: :last, value: 5, agents: [:a])
      assert {:ok, %{value: 7}} = Core.coordinate(:last)
      assert {:ok, %{value: 9}} = Core.coordinate(:last, agents: [:b])
      assert {:error, :no_agents} = Core.coordinate(:last, agents: [])
      assert {:error, :not_found} = Core.coordinate(:none)
    end

    test "does not overwrite what came meanwhile" do
      start(:slow, %{variable: {:stall, 100}})
      :ok = Core.register_variable(name: :v, value: 1, agents: [:slow])
      waiting = Task.async(fn -> Core.coordinate(:v) end)
      assert_eventually(MABEAM.Coordination.running_sessions() == 1)
      {:ok, 2} = Core.update_variable(:v, 2, :ann)
      assert {:error, {:conflict, %{version: 2}}} = Task.await(waiting)
    end

    test "of the system is that of each variable" do
      start(:a, %{variable: {:say, 7}})
      for name <- [:x, :y], do: :ok = Core.register_variable(name: name, value: 1, agents: [:a])
      :ok = Core.register_variable(name: :alone, value: 1)
      assert {:ok, %{x: {:ok, %{value: 7}}, y: {:ok, %{value: 7}}} = results} = Core.coordinate_system()
      assert map_size(results) == 2
      assert {:ok, status} = Core.system_status()
      assert status.agents == %{running: 1}
      assert status.variables == %{value: 3}
      assert status.sessions == 0
    end
  end
end
