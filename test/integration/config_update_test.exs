defmodule Foundation.ConfigUpdateTest do
  # Sections from schemas, changes of several paths, vetoes, history and rollback, on the running service.
  use ExUnit.Case, async: false
  doctest Foundation.Config

  import Foundation.Eventually

  alias Foundation.Config
  alias Foundation.ConfigSchemas.{Builtin, Clash, PaymentsConfig, Strict}
  alias Foundation.Services.ConfigServer
  alias Foundation.Types.Error

  setup do
    :ok = ConfigServer.reset_state()
    on_exit(fn -> ConfigServer.reset_state() end)
  end

  describe "register_schema" do
    test "adds a section that is read, updated and checked" do
      assert Config.register_schema(PaymentsConfig) == :ok
      assert Config.get([:payments]) == {:ok, PaymentsConfig.defaults()}
      assert [:payments, :retry, :attempts] in Config.updatable_paths()
      assert Config.update([:payments, :timeout], 500) == :ok
      assert Config.get([:payments, :timeout]) == {:ok, 500}

      assert {:error, %Error{error_type: :validation_failed, code: 1001, context: %{violations: [violation]}}} =
               Config.update([:payments, :timeout], 5)

      assert %{path: [:payments, :timeout], code: :min} = violation

      assert {:error, %Error{error_type: :config_update_forbidden}} =
               Config.update([:payments, :endpoint], "http://x")

      assert {:error, %Error{error_type: :config_update_forbidden}} = Config.update([:payments], %{})
    end

    test "takes the application's environment" do
      Application.put_env(:foundation, :payments, timeout: 700, retry: [attempts: 5])
      on_exit(fn -> Application.delete_env(:foundation, :payments) end)
      assert Config.register_schema(PaymentsConfig) == :ok
      assert {:ok, %{timeout: 700, retry: %{attempts: 5}}} = Config.get([:payments])
    end

    test "again keeps the values" do
      :ok = Config.register_schema(PaymentsConfig)
      :ok = Config.update([:payments, :timeout], 500)
      {:ok, version} = Config.version()
      assert Config.register_schema(PaymentsConfig) == :ok
      assert Config.get([:payments, :timeout]) == {:ok, 500}
      assert Config.version() == {:ok, version}
    end

    test "refuses what is no schema, a name that is taken, values that do not fit" do
      assert {:error, %Error{error_type: :invalid_schema}} = Config.register_schema(Enum)
      assert {:error, %Error{error_type: :invalid_schema}} = Config.register_schema("x")
      assert {:error, %Error{error_type: :schema_conflict}} = Config.register_schema(Builtin)
      :ok = Config.register_schema(PaymentsConfig)
      assert {:error, %Error{error_type: :schema_conflict}} = Config.register_schema(Clash)
      assert {:error, %Error{error_type: :validation_failed}} = Config.register_schema(Strict)
      assert {:error, %Error{error_type: :config_path_not_found}} = Config.get([:strict_section])
    end

    test "reset brings the section back to its defaults" do
      :ok = Config.register_schema(PaymentsConfig)
      :ok = Config.update([:payments, :timeout], 500)
      :ok = Config.reset()
      assert Config.get([:payments]) == {:ok, PaymentsConfig.defaults()}
    end

    test "validate/1 holds a configuration against it" do
      :ok = Config.register_schema(PaymentsConfig)
      {:ok, config} = Config.get()
      assert config == Foundation.Types.Config.new()
      assert Config.get([]) == {:ok, config}
      assert Config.validate(config) == :ok
      with_section = Map.put(config, :payments, PaymentsConfig.defaults())
      assert Config.validate(with_section) == :ok
      assert {:error, %Error{code: 1001}} = Config.validate(put_in(with_section, [:payments, :timeout], 1))
      assert Config.validate(Foundation.Types.Config.new()) == :ok
    end

    test "a server of a test namespace has its own" do
      pid = start_supervised!({ConfigServer, namespace: {:test, make_ref()}})
      assert GenServer.call(pid, {:register_schema, PaymentsConfig}) == :ok
      assert {:ok, 5_000} = GenServer.call(pid, {:get_config_path, [:payments, :timeout]})
      assert {:error, _} = Config.get([:payments])
      assert {:ok, 2} = GenServer.call(pid, {:validate_and_update, [{[:payments, :timeout], 300}], []})
      assert {:ok, [%{version: 2}, %{version: 1}]} = GenServer.call(pid, {:history, []})
      assert {:ok, 3} = GenServer.call(pid, {:rollback, 1})
      assert {:ok, 5_000} = GenServer.call(pid, {:get_config_path, [:payments, :timeout]})
    end
  end

  describe "validate_and_update" do
    test "changes all" do
      :ok = Config.register_schema(PaymentsConfig)
      :ok = Config.subscribe()

      assert {:ok, version} =
               Config.validate_and_update(%{
                 [:payments, :provider] => :stripe,
                 [:payments, :key] => "sk_1",
                 [:dev, :debug_mode] => true
               })

      assert Config.version() == {:ok, version}
      assert {:ok, %{provider: :stripe, key: "sk_1"}} = Config.get([:payments])
      assert Config.get([:dev, :debug_mode]) == {:ok, true}

      for path <- [[:payments, :provider], [:payments, :key], [:dev, :debug_mode]] do
        assert_receive {:config_notification, {:config_updated, ^path, _}}
      end
    end

    test "or none, and says everything that is wrong" do
      :ok = Config.register_schema(PaymentsConfig)
      :ok = Config.subscribe()
      before = Config.get()

      assert {:error, %Error{context: %{violations: violations}}} =
               Config.validate_and_update([
                 {[:dev, :debug_mode], true},
                 {[:payments, :timeout], 1},
                 {[:payments, :retry, :attempts], 99}
               ])

      assert Enum.map(violations, & &1.path) == [[:payments, :timeout], [:payments, :retry, :attempts]]
      assert {:error, %Error{code: 1001}} = Config.validate_and_update([{[:dev, :debug_mode], 1}])

      assert {:error, %Error{error_type: :config_update_forbidden}} =
               Config.validate_and_update([{[:dev, :debug_mode], true}, {[:ai, :model], "x"}])

      assert {:error, %Error{code: 1000}} =
               Config.validate_and_update([{[:ai, :model], "x"}, {[:__struct__], true}])

      assert Config.get() == before
      refute_received {:config_notification, _}
    end

    test "whole parts before what lies in them" do
      :ok = Config.register_schema(PaymentsConfig)

      assert {:ok, _} =
               Config.validate_and_update(%{[:payments, :retry, :attempts] => 7, [:payments, :retry] => %{}})

      assert Config.get([:payments, :retry, :attempts]) == {:ok, 7}
    end

    test "arguments are checked" do
      assert_raise ArgumentError, ~r/changes are/, fn -> Config.validate_and_update(:x) end
      assert_raise ArgumentError, ~r/changes are/, fn -> Config.validate_and_update([{:a, 1}]) end
      assert_raise ArgumentError, ~r/changes are/, fn -> Config.validate_and_update([{[:a], 1} | :b]) end
      assert_raise ArgumentError, fn -> Config.validate_and_update([], no: 1) end
      assert_raise ArgumentError, ~r/deadline/, fn -> Config.validate_and_update([], deadline: 0) end
      assert_raise ArgumentError, ~r/on_silence/, fn -> Config.validate_and_update([], on_silence: :x) end
      assert_raise ArgumentError, ~r/deadline/, fn -> Config.subscribe(veto: true, deadline: 60_001) end
    end

    test "no reader sees a half of it" do
      readers =
        for _ <- 1..2 do
          Task.async(fn ->
            Enum.each(1..20_000, fn _ ->
              {:ok, config} = Config.get()

              true =
                config.interface.max_results == config.interface.query_timeout or
                  config.interface.max_results == 1000
            end)
          end)
        end

      for n <- 1..200 do
        {:ok, _} =
          Config.validate_and_update([{[:interface, :max_results], n}, {[:interface, :query_timeout], n}])
      end

      Task.await_many(readers, 30_000)
    end
  end

  # A subscriber with a say that does as it is told.
  defp voter(answer, opts \\ []) do
    test = self()

    pid =
      spawn_link(fn ->
        :ok = Config.subscribe([veto: true] ++ opts)
        send(test, {:ready, self()})
        vote(test, answer)
      end)

    assert_receive {:ready, ^pid}
    pid
  end

  defp vote(test, answer) do
    receive do
      {:config_proposal, proposal, changes} ->
        send(test, {:asked, self(), changes, Config.get()})

        case answer do
          :accept -> Config.accept(proposal)
          {:veto, reason} -> Config.veto(proposal, reason)
          :silence -> :ok
          :die -> Process.unlink(test) && exit(:kill)
        end

      other ->
        send(test, {:told, self(), other})
    end

    vote(test, answer)
  end

  describe "veto" do
    test "drops the change; nobody saw it" do
      before = Config.get()
      :ok = Config.subscribe()
      accepting = voter(:silence, deadline: 60_000)
      refusing = voter({:veto, "not now"})

      assert {:error, %Error{error_type: :config_update_vetoed, code: 1006} = error} =
               Config.validate_and_update([{[:dev, :debug_mode], true}, {[:interface, :max_results], 5}])

      assert %{by: ^refusing, reason: "not now", paths: [[:dev, :debug_mode], [:interface, :max_results]]} =
               error.context

      assert Config.get() == before
      assert Config.version() == {:ok, 0}
      assert_receive {:asked, ^refusing, changes, ^before}

      assert changes == [
               %{path: [:dev, :debug_mode], old: false, new: true},
               %{path: [:interface, :max_results], old: 1000, new: 5}
             ]

      assert_receive {:told, ^accepting, {:config_proposal_dropped, _, "not now"}}
      refute_received {:config_notification, _}
    end

    test "agreement makes it" do
      one = voter(:accept)
      two = voter(:accept, deadline: 60_000)
      assert {:ok, 1} = Config.validate_and_update([{[:dev, :debug_mode], true}])
      assert Config.get([:dev, :debug_mode]) == {:ok, true}

      for pid <- [one, two],
          do: assert_receive({:told, ^pid, {:config_notification, {:config_updated, _, true}}})
    end

    test "silence until the deadline is no veto, unless the update says so" do
      voter(:silence, deadline: 20)
      assert {:ok, 1} = Config.validate_and_update([{[:dev, :debug_mode], true}])

      assert {:error, %Error{context: %{reason: :no_answer}}} =
               Config.validate_and_update([{[:dev, :debug_mode], false}], on_silence: :veto)

      voter(:silence, deadline: 60_000)
      assert {:ok, 2} = Config.validate_and_update([{[:dev, :debug_mode], false}], deadline: 20)
    end

    test "who dies or unsubscribes has no say" do
      voter(:die, deadline: 60_000)
      assert {:ok, 1} = Config.validate_and_update([{[:dev, :debug_mode], true}], on_silence: :veto)
      assert_eventually(match?({:ok, %{subscribers_count: 0}}, Config.status()))

      :ok = Config.subscribe(veto: true, deadline: 60_000)
      task = Task.async(fn -> Config.validate_and_update([{[:dev, :debug_mode], false}]) end)
      assert_receive {:config_proposal, _, _}
      :ok = Config.unsubscribe()
      assert {:ok, 2} = Task.await(task)
    end

    test "the proposer has no say itself, and the say can be given back" do
      :ok = Config.subscribe(veto: true, deadline: 60_000)
      assert {:ok, 1} = Config.validate_and_update([{[:dev, :debug_mode], true}])
      refute_received {:config_proposal, _, _}
      :ok = Config.subscribe(veto: false)

      assert {:ok, 2} =
               Task.await(Task.async(fn -> Config.validate_and_update([{[:dev, :debug_mode], false}]) end))

      assert_receive {:config_notification, {:config_updated, _, false}}
    end

    test "meanwhile others read, and changes wait their turn" do
      :ok = Config.subscribe(veto: true, deadline: 60_000)
      first = Task.async(fn -> Config.validate_and_update([{[:interface, :max_results], 1}]) end)
      assert_receive {:config_proposal, proposal, _}

      later = for n <- 2..4, do: Task.async(fn -> Config.update([:interface, :query_timeout], n) end)
      assert {:ok, %{updates_count: 0}} = Config.status()
      assert Config.get([:interface, :max_results]) == {:ok, 1000}
      :ok = Config.accept(proposal)
      assert {:ok, 1} = Task.await(first)
      assert Task.await_many(later) == [:ok, :ok, :ok]
      assert {:ok, %{updates_count: 4}} = Config.status()
    end

    test "a late or made up answer changes nothing" do
      {:ok, server} = Foundation.ProcessRegistry.lookup(:production, :config_server)
      :ok = Config.veto({server, make_ref()}, :late)
      assert {:ok, 1} = Config.validate_and_update([{[:dev, :debug_mode], true}])
    end

    test "plain updates ask nobody" do
      voter({:veto, :no})
      assert Config.update([:dev, :debug_mode], true) == :ok
      refute_received {:asked, _, _, _}
    end
  end

  describe "history and rollback" do
    test "each change is an entry, newest first" do
      :ok = Config.update([:dev, :debug_mode], true)
      {:ok, 2} = Config.validate_and_update([{[:interface, :max_results], 5}], note: "less")
      :ok = Config.reset()

      assert {:ok, [reset, batch, single]} = Config.history()
      me = self()
      assert %{version: 1, kind: :update, actor: ^me, note: nil, at: %DateTime{}} = single
      assert single.changes == [%{path: [:dev, :debug_mode], old: false, new: true}]
      assert %{version: 2, kind: :update, note: "less"} = batch
      assert %{version: 3, kind: :reset} = reset

      assert Enum.sort_by(reset.changes, & &1.path) == [
               %{path: [:dev, :debug_mode], old: true, new: false},
               %{path: [:interface, :max_results], old: 5, new: 1000}
             ]

      assert {:ok, [%{version: 3, changes: [_]}, %{version: 1}]} = Config.history([:dev, :debug_mode])
      assert {:ok, [%{version: 3}, %{version: 2}]} = Config.history(path: [:interface])
      assert {:ok, [%{version: 3}]} = Config.history(limit: 1)
      assert {:ok, [%{version: 3}, %{version: 2}]} = Config.history(since: 1)
      assert_raise ArgumentError, fn -> Config.history(no: 1) end
    end

    test "rollback restores, notifies and can be undone" do
      :ok = Config.update([:dev, :debug_mode], true)
      :ok = Config.update([:interface, :max_results], 5)
      :ok = Config.subscribe()
      assert {:ok, 3} = Config.rollback(0)
      assert Config.get() == {:ok, Foundation.Types.Config.new()}
      assert_receive {:config_notification, {:config_updated, [:dev, :debug_mode], false}}
      assert_receive {:config_notification, {:config_updated, [:interface, :max_results], 1000}}
      assert {:ok, [%{kind: :rollback, note: 0, version: 3} | _]} = Config.history()
      assert {:ok, 4} = Config.rollback(2)
      assert Config.get([:interface, :max_results]) == {:ok, 5}
      assert {:ok, 4} = Config.rollback(4)
    end

    test "of a version that is not there" do
      for version <- [1, -1, 99, "1", nil] do
        assert {:error, %Error{error_type: :config_version_not_found}} = Config.rollback(version)
      end
    end

    test "the history is bounded, and what fell out of it cannot be brought back" do
      Application.put_env(:foundation, :config_history_limit, 3)
      on_exit(fn -> Application.delete_env(:foundation, :config_history_limit) end)
      :ok = ConfigServer.reset_state()
      for n <- 1..5, do: :ok = Config.update([:interface, :max_results], n)
      assert {:ok, [%{version: 5}, %{version: 4}, %{version: 3}]} = Config.history()
      assert {:error, %Error{error_type: :config_version_not_found}} = Config.rollback(1)
      assert {:ok, 6} = Config.rollback(2)
      assert Config.get([:interface, :max_results]) == {:ok, 2}
    end

    test "is checked against the schemas of now" do
      :ok = Config.update([:dev, :debug_mode], true)
      :ok = Config.register_schema(PaymentsConfig)
      assert {:ok, 3} = Config.rollback(0)
      assert Config.get([:dev, :debug_mode]) == {:ok, false}
      assert Config.get([:payments]) == {:ok, PaymentsConfig.defaults()}
    end

    test "secrets are in neither history nor inspect" do
      :ok = Config.register_schema(PaymentsConfig)

      {:ok, _} =
        Config.validate_and_update([
          {[:payments, :provider], :stripe},
          {[:payments, :key], "sk_very_secret"},
          {[:payments, :retry], %{passphrase_of_proxy: "sk_very_secret"}}
        ])

      {:ok, history} = Config.history()
      refute inspect(history, limit: :infinity) =~ "very_secret"
      assert inspect(history, limit: :infinity) =~ "[REDACTED]"
      {:ok, config} = Config.get()
      refute inspect(config, limit: :infinity) =~ "very_secret"
      assert inspect(config) =~ "#Foundation.Types.Config<"
      {:ok, server} = Foundation.ProcessRegistry.lookup(:production, :config_server)
      refute inspect(:sys.get_status(server), limit: :infinity) =~ "very_secret"
      assert Config.get([:payments, :key]) == {:ok, "sk_very_secret"}

      assert {:error, error} = Config.update([:payments, :key], "not_sk_very_secret")
      refute inspect(error) =~ "very_secret"

      # Hidden in what is shown, not in what is restored.
      {:ok, version} = Config.version()
      :ok = Config.reset()
      {:ok, _} = Config.rollback(version)
      assert Config.get([:payments, :key]) == {:ok, "sk_very_secret"}
    end
  end

  describe "a crash" do
    test "rebuilds the values, keeps schemas and history, and can be rolled back" do
      :ok = Config.register_schema(PaymentsConfig)
      :ok = Config.update([:payments, :timeout], 500)
      :ok = Config.update([:dev, :debug_mode], true)
      {:ok, version} = Config.version()
      Foundation.ServiceDown.crash(ConfigServer)

      assert Config.get([:dev, :debug_mode]) == {:ok, false}
      assert Config.get([:payments, :timeout]) == {:ok, 5_000}
      assert {:ok, [%{kind: :restart} | _]} = Config.history()
      assert {:ok, _} = Config.rollback(version)
      assert Config.get([:payments, :timeout]) == {:ok, 500}
      assert Config.get([:dev, :debug_mode]) == {:ok, true}
    end
  end
end
