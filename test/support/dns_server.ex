defmodule Foundation.DnsServer do
  @moduledoc false
  # A name server on a free port of the loopback interface, over UDP and TCP, whose answers come from a table:
  #
  #   %{{"name", :a} => [{127, 0, 0, 1}], {"name", :srv} => [{prio, weight, port, ~c"host"}], {"name", :cname} => ["other"],
  #     "name" => :nxdomain | :servfail | :refused | :silent | :garbage}
  #
  # `:servfail` may stand for one kind too. A name that is in the table for another kind only has no records of this kind; one that is not in it does not exist.

  @doc "Starts it, linked to the caller. Option: `max_udp:` bytes of a datagram at most (512), then it is cut short."
  def start(zone, opts \\ []) do
    {:ok, table} = Agent.start_link(fn -> {zone, 0} end)
    {udp, tcp, port} = listen(opts[:port] || 0)
    max = Keyword.get(opts, :max_udp, 512)
    pid = spawn_link(fn -> receive do: (:go -> udp_loop(udp, table, max)) end)
    :gen_udp.controlling_process(udp, pid)
    send(pid, :go)
    spawn_link(fn -> tcp_loop(tcp, table) end)
    %{port: port, table: table, nameservers: [{{127, 0, 0, 1}, port}]}
  end

  # A port that is free for UDP may be somebody's for TCP.
  defp listen(wanted) do
    {:ok, udp} = :gen_udp.open(wanted, [:binary, active: true, ip: {127, 0, 0, 1}])
    {:ok, port} = :inet.port(udp)

    case :gen_tcp.listen(port, [:binary, packet: 2, active: false, ip: {127, 0, 0, 1}, reuseaddr: true]) do
      {:ok, tcp} ->
        {udp, tcp, port}

      {:error, :eaddrinuse} when wanted == 0 ->
        :gen_udp.close(udp)
        listen(wanted)
    end
  end

  @doc "From now on it answers from another table."
  def zone(server, zone), do: Agent.update(server.table, fn {_, seen} -> {zone, seen} end)

  @doc "How many questions were asked."
  def asked(server), do: Agent.get(server.table, &elem(&1, 1))

  defp udp_loop(socket, table, max) do
    receive do
      {:udp, ^socket, ip, port, query} ->
        case answer(query, table) do
          :silent -> :ok
          full when byte_size(full) > max -> :gen_udp.send(socket, ip, port, cut(query))
          full -> :gen_udp.send(socket, ip, port, full)
        end

        udp_loop(socket, table, max)
    end
  end

  defp tcp_loop(listener, table) do
    {:ok, socket} = :gen_tcp.accept(listener)

    with {:ok, query} <- :gen_tcp.recv(socket, 0, 5_000), full when is_binary(full) <- answer(query, table) do
      :gen_tcp.send(socket, full)
    end

    :gen_tcp.close(socket)
    tcp_loop(listener, table)
  end

  defp answer(query, table) do
    zone = Agent.get_and_update(table, fn {zone, seen} -> {zone, {zone, seen + 1}} end)
    {:ok, message} = :inet_dns.decode(query)
    [question] = :inet_dns.msg(message, :qdlist)
    name = question |> :inet_dns.dns_query(:domain) |> List.to_string() |> String.downcase()

    case zone[name] do
      :silent -> :silent
      :garbage -> "what do you mean"
      :nxdomain -> reply(message, 3, [])
      :servfail -> reply(message, 2, [])
      :refused -> reply(message, 5, [])
      nil -> answer_kind(message, zone, name, :inet_dns.dns_query(question, :type))
    end
  end

  defp answer_kind(message, zone, name, kind) do
    if zone[{name, kind}] == :servfail, do: reply(message, 2, []), else: records(message, zone, name, kind)
  end

  defp records(message, zone, name, kind) do
    known? = Enum.any?(zone, &match?({{^name, _}, _}, &1))
    aliases = Map.get(zone, {name, :cname}, [])
    direct = Map.get(zone, {name, kind}, [])
    behind = for other <- aliases, data <- Map.get(zone, {other, kind}, []), do: {other, kind, data}

    found =
      for(data <- direct, do: {name, kind, data}) ++
        for(other <- aliases, do: {name, :cname, String.to_charlist(other)}) ++ behind

    reply(message, if(known?, do: 0, else: 3), found)
  end

  defp reply(message, code, records) do
    header =
      message
      |> :inet_dns.msg(:header)
      |> :inet_dns.make_header(qr: true, aa: true, ra: true, rcode: code)

    answers =
      for {name, kind, data} <- records,
          do: :inet_dns.make_rr(domain: String.to_charlist(name), type: kind, class: :in, ttl: 5, data: data)

    message |> :inet_dns.make_msg(header: header, anlist: answers, arlist: []) |> :inet_dns.encode()
  end

  # The header says that there is more.
  defp cut(query) do
    {:ok, message} = :inet_dns.decode(query)
    header = message |> :inet_dns.msg(:header) |> :inet_dns.make_header(qr: true, tc: true)
    message |> :inet_dns.make_msg(header: header, anlist: [], arlist: []) |> :inet_dns.encode()
  end
end
