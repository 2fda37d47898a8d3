defmodule Foundation.Security.FederationTest do
  # A gateway of this node against callers of another cluster that say whatever they like.
  use ExUnit.Case, async: false

  import ExUnit.CaptureLog
  import Foundation.Eventually

  alias Foundation.Cluster.Federation
  alias Foundation.Cluster.Federation.{Pem, Wire}
  alias Foundation.Native
  alias Foundation.Opaque

  @ours "the secret of our cluster, which they do not know"
  @theirs "the secret of their cluster, which we do not know"

  setup do
    start_supervised!(%{id: :atoms, start: {Agent, :start_link, [fn -> [] end]}})
    on_exit(&Federation.stop/0)
    :ok
  end

  # Our gateway, which lets `their` cluster call `allow`.
  defp gateway(allow, quota \\ []) do
    Federation.stop()

    :ok =
      Federation.start(%{
        our: [secret: @ours, gateway: [bind: "127.0.0.1"]],
        their: [authority: authority_of("their", @theirs), allow: allow, quota: quota]
      })

    {:ok, %{clusters: %{our: %{gateway: address, member: true}}}} = Federation.info()
    address
  end

  defp authority_of(cluster, secret) do
    {:ok, handle} = native([{cluster, {:member, [secret], nil}, [], {1, 1, 1}}])
    {_, certificates, _} = Native.federation_cluster(handle, cluster)
    Pem.encode(certificates)
  end

  defp native(clusters) do
    options = %{node: "caller@host", boot: 1, max_payload: 1_048_576, clusters: clusters}
    Native.federation_start(options, self())
  end

  # A caller whose cluster is `name`, with what the gateway at `address` is known by.
  defp caller(address, name \\ "their", secret \\ @theirs) do
    {:ok, authorities} = Pem.decode(authority_of("our", @ours))

    {:ok, handle} =
      native([
        {name, {:member, [secret], nil}, [], {1, 1, 1}},
        {"our", {:foreign, name, authorities}, [address], {1, 1, 1}}
      ])

    handle
  end

  defp say(handle, payload, timeout \\ 15_000) do
    reference = make_ref()
    {:ok, call} = Native.federation_call(handle, "our", payload, timeout, reference)
    assert_receive {^reference, answer}, timeout + 5_000
    Native.federation_cancel(call)
    Wire.answer(answer)
  end

  defp request(module, function, args) do
    {:ok, request} = Wire.request({module, function, args})
    request
  end

  test "only what is allowed can be called" do
    caller = caller(gateway([{Enum, :sum, 1}, {String, :upcase, 1}]))
    assert say(caller, request(Enum, :sum, [[1, 2, 3]])) == {:ok, 6}
    assert say(caller, request(String, :upcase, ["abc"])) == {:ok, "ABC"}

    for {module, function, args} <- [
          {Enum, :sum, []},
          {Enum, :count, [[]]},
          {:os, :cmd, [[]]},
          {:erlang, :halt, []},
          {:erlang, :apply, [Enum, :sum, [[1]]]},
          {Foundation.Cluster, :stop, []}
        ] do
      assert say(caller, request(module, function, args)) == {:error, :not_allowed}
    end

    {:ok, %{served: served}} = Federation.info()
    assert_eventually(match?({:ok, %{served: %{returned: 2, not_allowed: 6}}}, Federation.info()))
    assert served.failed == 0
  end

  test "bytes that are not a request reach no function" do
    caller = caller(gateway([{Enum, :sum, 1}, {:erlang, :display, 1}]))
    head = fn arity -> <<1, 11::16, "Elixir.Enum", 3::16, "sum", arity>> end
    compressed = :erlang.term_to_binary([List.duplicate(1, 1_000_000)], [:compressed])
    new_atom = <<131, 108, 1::32, 119, 20, "never_seen_anywhere_", 106>>
    fun = :erlang.term_to_binary([&System.halt/0])

    for payload <- [
          "",
          "noise",
          head.(1),
          head.(1) <> compressed,
          head.(1) <> new_atom,
          head.(1) <> fun,
          head.(1) <> :erlang.term_to_binary([self()]),
          head.(1) <> :erlang.term_to_binary(:not_a_list),
          head.(1) <> :erlang.term_to_binary([1 | 2]),
          head.(1) <> :erlang.term_to_binary([[1], [2]]),
          <<1, 255::16, "Elixir.Enum">>
        ] do
      assert say(caller, payload) == {:error, :malformed}
    end

    assert_raise ArgumentError, fn -> String.to_existing_atom("never_seen" <> "_anywhere_") end
    assert say(caller, request(Enum, :sum, [[1]])) == {:ok, 1}
  end

  test "a function that raises, exits, throws, eats memory or does not end harms nobody" do
    allow = [
      {:erlang, :error, 1},
      {:erlang, :exit, 1},
      {:erlang, :throw, 1},
      {Process, :sleep, 1},
      {List, :duplicate, 2}
    ]

    caller = caller(gateway([{Enum, :sum, 1} | allow]))

    log =
      capture_log(fn ->
        for function <- [:error, :exit, :throw],
            do: assert(say(caller, request(:erlang, function, [:boom])) == {:error, :failed})

        # To fill the memory that a call may have takes its time.
        assert say(caller, request(List, :duplicate, ["x", 1_000_000_000]), 60_000) == {:error, :failed}
      end)

    assert log =~ "from caller@host in the cluster their failed"
    assert say(caller, request(Process, :sleep, [60_000]), 200) == {:error, :timeout}
    # The process that slept is gone with its caller's patience, and its place is free.
    assert_eventually(match?({:ok, %{served: %{failed: 4, cancelled: 1}}}, Federation.info()))
    assert say(caller, request(Enum, :sum, [[1]])) == {:ok, 1}
  end

  test "answers that are not plain data are not sent" do
    caller = caller(gateway([{:erlang, :self, 0}, {:erlang, :make_ref, 0}]))
    assert say(caller, request(:erlang, :self, [])) == {:error, :not_plain}
    assert say(caller, request(:erlang, :make_ref, [])) == {:error, :not_plain}
  end

  test "the quota of a cluster holds" do
    caller = caller(gateway([{Process, :sleep, 1}], calls_per_second: 100, at_a_time: 2))
    slow = for _ <- 1..2, do: Task.async(fn -> say(caller, request(Process, :sleep, [2_500])) end)
    assert_eventually(under_way() == 2)
    assert {:error, {:quota, ms}} = say(caller, request(Process, :sleep, [0]))
    assert ms > 0
    assert Task.await_many(slow, 30_000) == [{:ok, :ok}, {:ok, :ok}]
    assert say(caller, request(Process, :sleep, [0])) == {:ok, :ok}
  end

  defp under_way, do: map_size(:sys.get_state(Federation.Server).calls.by_monitor)

  test "a call is ended here when its caller gives up or is gone" do
    caller = caller(gateway([{Process, :sleep, 1}]))
    sleep = request(Process, :sleep, [600_000])

    # Its patience is over; here the call may take ten minutes.
    reference = make_ref()
    {:ok, call} = Native.federation_call(caller, "our", sleep, 600_000, reference)
    assert_eventually(under_way() == 1)
    assert Native.federation_cancel(call)
    assert_receive {^reference, {:error, :timeout}}, 5_000
    refute Native.federation_cancel(call)
    assert_eventually(under_way() == 0)

    # The process that called ends, in whatever way.
    {pid, monitor} = spawn_monitor(fn -> say(caller, sleep, 600_000) end)
    assert_eventually(under_way() == 1)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    assert_eventually(under_way() == 0)

    # Its node goes, and the link with it.
    {:ok, _call} = Native.federation_call(caller, "our", sleep, 600_000, make_ref())
    assert_eventually(under_way() == 1)
    Native.federation_stop(caller)
    assert_eventually(under_way() == 0)
    assert_eventually(match?({:ok, %{served: %{cancelled: 3}}}, Federation.info()))
  end

  test "strangers, and clusters under a false name, are refused and counted" do
    address = gateway([{Enum, :sum, 1}])

    assert say(caller(address, "their", "a guess at their secret"), request(Enum, :sum, [[1]])) ==
             {:error, :unreachable}

    assert say(caller(address, "bank", @theirs), request(Enum, :sum, [[1]])) == {:error, :unreachable}

    assert_eventually(match?({:ok, %{refused: %{stranger: 1, foreign_cluster: 1}}}, Federation.info()))
  end

  test "no secret is shown anywhere" do
    address = gateway([{Enum, :sum, 1}])

    log =
      capture_log([level: :debug], fn ->
        assert say(caller(address), request(Enum, :sum, [[1]])) == {:ok, 1}
        assert say(caller(address, "their", "guess"), request(Enum, :sum, [[1]])) == {:error, :unreachable}

        assert {:error, {:invalid_config, problem}} =
                 Federation.start(%{
                   our: [secret: @ours, gateway: :nonsense],
                   their: [secret: @theirs, quota: 1]
                 })

        refute inspect(problem) =~ "the secret of"
      end)

    shown = [inspect(Federation.info()), log, inspect(:sys.get_state(Federation.Server), limit: :infinity)]
    for text <- shown, do: refute(text =~ "the secret of")
    {:ok, pem} = Federation.authority(:our)
    refute pem =~ Base.encode64(@ours)
  end

  test "arguments are checked before anything is sent" do
    assert Foundation.Cluster.send_to_cluster(:their, {Enum, :sum, [[1]]}) == {:error, :not_running}
    gateway([])
    assert Foundation.Cluster.clusters() == [:our, :their]
    assert Foundation.Cluster.send_to_cluster(:nobody, {Enum, :sum, [[1]]}) == {:error, :unknown_cluster}
    assert Foundation.Cluster.send_to_cluster(:their, {Enum, :sum, [[1]]}) == {:error, :unreachable}
    assert Foundation.Cluster.send_to_cluster(:their, {Enum, :sum, [self()]}) == {:error, :not_plain}
    large = String.duplicate("x", 1_048_577)
    assert Foundation.Cluster.send_to_cluster(:their, {Enum, :sum, [large]}) == {:error, :too_large}

    assert_raise ArgumentError, ~r/timeout is 0/, fn ->
      Federation.call(:their, {Enum, :sum, []}, timeout: 0)
    end

    assert_raise ArgumentError, ~r/target is :nonsense/, fn -> Federation.call(:their, :nonsense, []) end

    assert_raise ArgumentError, ~r/cluster is "their"/, fn ->
      Federation.call(Opaque.term("their"), {Enum, :sum, []}, [])
    end
  end
end
