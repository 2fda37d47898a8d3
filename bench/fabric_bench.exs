# Channels between two real nodes of one host against Distributed Erlang between the same two, in the same run.
Code.require_file("support.exs", __DIR__)
load = Code.require_file("fabric_load.exs", __DIR__)

defmodule Foundation.Bench.Fabric do
  alias Foundation.Bench
  alias Foundation.Bench.FabricLoad, as: Load
  alias Foundation.FabricPeers, as: Peers
  alias Foundation.Forwarder

  def run(wanted, modules) do
    Process.put(:modules, modules)
    IO.puts("fabric: two nodes on this host, TLS 1.3, against Distributed Erlang in the clear")
    System.cmd("epmd", ["-daemon"])
    plain = [one_way: &one_way/2, mixed: &mixed/2, bulk: &bulk/2]
    wants = fn name -> wanted == [] or to_string(name) in wanted end

    if Enum.any?(Keyword.keys(plain), wants),
      do: on_pair([], for({name, fun} <- plain, wants.(name), do: fun))

    if wants.(:over_tls), do: on_pair([args: tls_distribution()], [&over_tls/2])
    if wants.(:far), do: far()
    if wants.(:parted), do: parted()
  end

  defp on_pair(options, cases) do
    {a, b} = pair({options, options})
    for fun <- cases, do: fun.(a, b)
    Enum.each([a, b], &Peers.stop/1)
  end

  defp pair({for_a, for_b}) do
    [a, b] = [Peers.start(:fabric_bench_a, for_a), Peers.start(:fabric_bench_b, for_b)]
    for peer <- [a, b], do: Load.install(peer, Process.get(:modules))
    true = Peers.connect(a, b)
    wait(fn -> b.node in Peers.rpc(a, Foundation.Distributed.Fabric, :nodes, []) end)
    wait(fn -> a.node in Peers.rpc(b, Foundation.Distributed.Fabric, :nodes, []) end)
    {a, b}
  end

  # Certificates for Distributed Erlang over TLS, checked on both sides as the fabric's are.
  defp tls_distribution do
    directory = Path.join(System.tmp_dir!(), "fabric_bench_#{System.pid()}")
    File.mkdir_p!(directory)
    key = [{:key, {:namedCurve, :secp256r1}}]

    %{server_config: config} =
      :public_key.pkix_test_data(%{server_chain: chain(key), client_chain: chain(key)})

    write = fn name, entries -> File.write!(Path.join(directory, name), :public_key.pem_encode(entries)) end
    {type, der} = config[:key]
    write.("cert.pem", [{:Certificate, config[:cert], :not_encrypted}])
    write.("key.pem", [{type, der, :not_encrypted}])
    file = &String.to_charlist(Path.join(directory, &1))

    options =
      for side <- [:server, :client],
          do: {side, [certfile: file.("cert.pem"), keyfile: file.("key.pem"), verify: :verify_none]}

    File.write!(Path.join(directory, "options"), :io_lib.format("~p.~n", [options]))
    ["-proto_dist", "inet_tls", "-ssl_dist_optfile", Path.join(directory, "options")]
  end

  defp chain(key), do: %{root: key, intermediates: [], peer: key}

  defp over_tls(a, b) do
    for {size, count} <- [{65_536, 4_000}, {1_048_576, 400}] do
      compare("#{div(size, 1024)} KB bulk, MB a second, distribution over TLS", 2, fn how ->
        rate(a, b, how, 4, div(count, 4), size) * size / 1.0e6
      end)
    end
  end

  # A round trip of 20 ms between the nodes, whatever connection it takes.
  defp far do
    [a, b] = for n <- [2, 4], do: remote(n)
    {a, b} = pair({a, b})

    compare("512 KB, 128 pairs, acknowledged, 20 ms round trip, MB a second", 4.5, fn how ->
      us = Peers.rpc(a, Load, :pairs, [how, b.node, 128, 6, 524_288], 120_000)
      128 * 6 * 524_288 / us
    end)

    Enum.each([a, b], &Peers.stop/1)
  end

  # The node is known by one address, listens at the next, and a forwarder stands between the two.
  defp remote(n) do
    [known, listens] = for last <- [n, n + 1], do: "127.0.0.#{last}"
    [distribution, fabric] = [free_port(listens), free_port(listens)]

    for port <- [distribution, fabric],
        do: Forwarder.start(port, listen: port, on: known, to: listens, delay_ms: 10, window: tcp_window())

    interface = "{127,0,0,#{n + 1}}"

    [
      host: known,
      args: ~w(-kernel inet_dist_use_interface #{interface} -kernel inet_dist_listen_min #{distribution}
               -kernel inet_dist_listen_max #{distribution}),
      fabric: [
        bind: listens,
        port: fabric,
        advertise: {known, fabric},
        channels: [data: [lanes: 16, max_bytes: 64 * 1024 * 1024]]
      ]
    ]
  end

  # What the kernel lets one connection have under way: the largest send buffer, of which a quarter is bookkeeping.
  defp tcp_window do
    with {:ok, text} <- File.read("/proc/sys/net/ipv4/tcp_wmem"),
         [_, _, most] <- String.split(text),
         do: div(String.to_integer(most) * 3, 4),
         else: (_ -> 3 * 1024 * 1024)
  end

  defp free_port(address) do
    {:ok, ip} = :inet.parse_address(String.to_charlist(address))
    {:ok, socket} = :gen_tcp.listen(0, ip: ip, reuseaddr: true)
    {:ok, port} = :inet.port(socket)
    :gen_tcp.close(socket)
    port
  end

  # Milliseconds from the end of a partition until all channels deliver what was sent meanwhile.
  defp parted do
    [listens, known] = for _ <- 1..2, do: free_port("127.0.0.1")
    forwarder = Forwarder.start(listens, listen: known)
    b = [fabric: [bind: "127.0.0.1", port: listens, advertise: {{127, 0, 0, 1}, known}]]
    {a, b} = pair({[], b})

    times =
      for n <- 1..3 do
        Peers.rpc(a, Load, :probe, [b.node, n])
        Forwarder.cut(forwarder)
        Peers.rpc(a, Load, :probe_later, [b.node, n])
        Process.sleep(5_000)
        healed = System.monotonic_time(:millisecond)
        Forwarder.heal(forwarder)
        :ok = Peers.rpc(a, Load, :probed, [n], 60_000)
        System.monotonic_time(:millisecond) - healed
      end

    took = Bench.median(times)

    Bench.figure(
      "recovery after a healed partition",
      "#{took} ms",
      if(took <= 2_000, do: "met (at most 2 s)", else: "MISSED")
    )

    Enum.each([a, b], &Peers.stop/1)
  end

  defp wait(fun), do: unless(fun.(), do: wait(fun))

  defp one_way(a, b) do
    for senders <- [1, 8] do
      count = div(400_000, senders)

      compare(
        "100 bytes one way, #{senders} sender(s), messages a second",
        if(senders == 1, do: 1.0, else: 1.5),
        fn how ->
          rate(a, b, how, senders, count, 100)
        end
      )
    end
  end

  defp bulk(a, b) do
    for {size, count} <- [{65_536, 8_000}, {1_048_576, 800}] do
      compare("#{div(size, 1024)} KB bulk, MB a second", 0.5, fn how ->
        rate(a, b, how, 4, div(count, 4), size) * size / 1.0e6
      end)
    end
  end

  # Messages a second from the first send until the last receiver has checked them all.
  defp rate(a, b, how, senders, count, size) do
    us = Peers.rpc(a, Load, :one_way, [how, b.node, senders, count, size], 120_000)
    senders * count / us * 1.0e6
  end

  defp mixed(a, b) do
    rows =
      for _ <- 1..3,
          how <- [:fabric, :distribution],
          do: {how, Peers.rpc(a, Load, :mixed, [how, b.node, 2_000], 60_000)}

    for {index, name, least} <- [{0, "p50", 10}, {1, "p99", 4}] do
      [ours, theirs] =
        for how <- [:fabric, :distribution], do: Bench.median(for {^how, row} <- rows, do: elem(row, index))

      Bench.figure(
        "small call beside 1 MB messages, #{name}",
        "#{Bench.nanoseconds(ours * 1000)} against #{Bench.nanoseconds(theirs * 1000)}",
        verdict(theirs / ours, least)
      )
    end

    for how <- [:fabric, :distribution],
        do:
          Bench.figure(
            "  #{how}: MB a second until all arrived",
            round(Bench.median(for {^how, row} <- rows, do: elem(row, 2)))
          )
  end

  defp compare(name, least, measure) do
    measure.(:fabric)
    measure.(:distribution)
    samples = for _ <- 1..5, do: {measure.(:fabric), measure.(:distribution)}
    ratio = samples |> Enum.map(fn {ours, theirs} -> ours / theirs end) |> Bench.median()
    [ours, theirs] = for n <- [0, 1], do: samples |> Enum.map(&elem(&1, n)) |> Bench.median() |> round()
    Bench.figure(name, "#{ours} against #{theirs}", verdict(ratio, least))
  end

  defp verdict(ratio, least) do
    met = if ratio >= least, do: "met", else: "MISSED"
    "#{Float.round(ratio, 2)}x   #{met} (wanted #{least}x)"
  end
end

Foundation.Bench.Fabric.run(System.argv(), load)
