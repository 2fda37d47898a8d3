defmodule Foundation.ProcessRegistry.Global.Replication do
  @moduledoc false
  # Brings the changes of this node's claims to the others, and follows theirs: what the server knows of the other nodes'
  # servers, as a value.
  #
  # A server is known by its pid, from a hello on. It is sent the changes after the last number that it has confirmed, in
  # order, some batches at a time; one that it starts with gets all from 0. Who is slow or frozen holds up nobody: no
  # send waits, and what was not taken or not confirmed is sent again.

  alias Foundation.ProcessRegistry.Global.Table

  @server Foundation.ProcessRegistry.Global.Server

  @batch 500
  @flights 4
  # What is registered within that time goes in one message. In ms.
  @gather 2
  @tick 250
  @resend 2_000

  def new,
    do: %{number: 0, peers: %{}, nodes: %{}, gone: :queue.new(), flushing: false, ticking: false}

  # -- who is there

  @doc "Says hello to the servers of those nodes, if they have one."
  def greet(all, nodes) do
    for node <- nodes, node != node(), do: :erlang.send({@server, node}, message(:hello, :ask), [:noconnect])
    all
  end

  def peer?(all, pid), do: is_map_key(all.peers, pid)
  def peer_of(all, node), do: all.nodes[node]

  @doc "A server that has said hello, which is not known yet."
  def add(all, pid, asked) do
    peer = %{
      monitor: Process.monitor(pid),
      keys: :ets.new(:keys, [:set, :private]),
      applied: 0,
      sent: 0,
      acked: 0,
      flights: [],
      at: now()
    }

    answer(pid, asked)
    pump(%{all | peers: Map.put(all.peers, pid, peer), nodes: Map.put(all.nodes, node(pid), pid)})
  end

  @doc "Answers a hello."
  def answer(pid, :ask), do: send_to(pid, :hello, :answer)
  def answer(_pid, :answer), do: :ok

  @doc "The server is gone, or its node."
  def remove(all, pid) do
    {peer, peers} = Map.pop!(all.peers, pid)
    Process.demonitor(peer.monitor, [:flush])
    :ets.delete(peer.keys)
    collect(%{all | peers: peers, nodes: Map.delete(all.nodes, node(pid))})
  end

  # -- this node's changes

  @doc """
  Numbers a change of this node's claims, `{:put, key}` or `{:gone, key}`, in place of the one with the number `before` (nil: of
  none).
  """
  def changed(all, before, change) do
    number = all.number + 1
    if before, do: Table.delete_change(before)
    all = %{all | number: number}
    {number, all |> keep(number, change) |> soon()}
  end

  # Nobody that does not know of a claim yet needs to hear of its end.
  defp keep(%{peers: peers} = all, _number, {:gone, _key}) when map_size(peers) == 0, do: all

  defp keep(all, number, change) do
    Table.put_change(number, change)
    if elem(change, 0) == :gone, do: %{all | gone: :queue.in(number, all.gone)}, else: all
  end

  defp soon(%{peers: peers} = all) when map_size(peers) == 0, do: all
  defp soon(%{flushing: true} = all), do: all

  defp soon(all) do
    Process.send_after(self(), :flush, @gather)
    %{all | flushing: true}
  end

  def flush(all), do: pump(%{all | flushing: false})

  # Sends to everyone what there is room for. Those who are as far as each other get the same batch.
  defp pump(all) do
    {peers, _batches} =
      Enum.map_reduce(all.peers, %{}, fn {pid, peer}, batches ->
        {peer, batches} = pump(pid, peer, all.number, batches)
        {{pid, peer}, batches}
      end)

    later(%{all | peers: Map.new(peers)})
  end

  defp pump(_pid, %{sent: number} = peer, number, batches), do: {peer, batches}

  defp pump(_pid, %{flights: flights} = peer, _number, batches) when length(flights) >= @flights,
    do: {peer, batches}

  defp pump(pid, peer, number, batches) do
    {last, changes} = batch = batches[peer.sent] || batch(peer.sent, number)
    batches = Map.put(batches, peer.sent, batch)

    case send_to(pid, :changes, {peer.sent, last, changes}) do
      :ok -> pump(pid, %{peer | sent: last, flights: peer.flights ++ [last], at: at(peer)}, number, batches)
      _busy -> {peer, batches}
    end
  end

  # Since when nothing was confirmed.
  defp at(%{flights: []}), do: now()
  defp at(peer), do: peer.at

  defp batch(from, number) do
    changes = Table.changes_after(from, @batch)
    last = if length(changes) == @batch, do: changes |> List.last() |> elem(0), else: number
    {last, Enum.map(changes, &content/1)}
  end

  defp content({_number, {:gone, _key} = change}), do: change

  defp content({_number, {:put, key}}) do
    {{pid, metadata, stamp, token}, _, _} = Table.own(key)
    {key, pid, metadata, stamp, token}
  end

  # Something is under way, or waits for room.
  defp later(%{ticking: true} = all), do: all

  defp later(all) do
    if Enum.any?(all.peers, fn {_, peer} -> peer.acked < all.number end) do
      Process.send_after(self(), :tick, @tick)
      %{all | ticking: true}
    else
      all
    end
  end

  @doc "Sends again what was not confirmed in time, and what there was no room for."
  def tick(all) do
    late = now() - @resend

    peers =
      Map.new(all.peers, fn {pid, peer} ->
        {pid, if(late?(peer, late), do: %{peer | sent: peer.acked, flights: []}, else: peer)}
      end)

    pump(%{all | peers: peers, ticking: false})
  end

  defp late?(peer, late), do: peer.flights != [] and peer.at < late

  @doc "The server has all changes up to that number."
  def ack(all, pid, number) do
    case all.peers do
      %{^pid => %{acked: acked} = peer} when number > acked ->
        peer = %{peer | acked: number, flights: Enum.filter(peer.flights, &(&1 > number)), at: now()}
        peer = if peer.sent < number, do: %{peer | sent: number}, else: peer
        pump(collect(%{all | peers: %{all.peers | pid => peer}}))

      _ ->
        all
    end
  end

  # What all have heard of is told no more.
  defp collect(all) do
    floor = Enum.reduce(all.peers, all.number, fn {_, peer}, floor -> min(floor, peer.acked) end)
    %{all | gone: collect(all.gone, floor)}
  end

  defp collect(gone, floor) do
    case :queue.peek(gone) do
      {:value, number} when number <= floor ->
        Table.delete_change(number)
        collect(:queue.drop(gone), floor)

      _ ->
        gone
    end
  end

  # -- the changes of others

  @doc "`{:ok, changes, all}` when they follow what is known, else `{:ignore, all}`."
  def changes(all, pid, {from, last, changes}) do
    case all.peers do
      %{^pid => %{applied: ^from} = peer} ->
        send_to(pid, :ack, last)
        {:ok, changes, %{all | peers: %{all.peers | pid => %{peer | applied: last}}}}

      %{^pid => peer} ->
        send_to(pid, :ack, peer.applied)
        {:ignore, all}

      _ ->
        {:ignore, all}
    end
  end

  @doc "The node has a claim to that key."
  def remember(all, node, key), do: :ets.insert(keys_table(all, node), {key})
  def forget(all, node, key), do: :ets.delete(keys_table(all, node), key)
  def keys(all, node), do: for({key} <- :ets.tab2list(keys_table(all, node)), do: key)
  defp keys_table(all, node), do: all.peers[all.nodes[node]].keys

  # -- other messages

  @doc "Tells the node of a claim that it has lost, and to which process (nil: to none)."
  def concede(all, key, {pid, _metadata, stamp, _token}, winner) do
    if server = all.nodes[node(pid)], do: send_to(server, :concede, {key, stamp, winner && elem(winner, 0)})
    :ok
  end

  @doc "Asks everyone for the number of their last change."
  def ask_numbers(all, reference) do
    Map.new(all.peers, fn {pid, _} ->
      send_to(pid, :number, {:ask, reference})
      {pid, :asked}
    end)
  end

  def tell_number(all, pid, reference), do: send_to(pid, :number, {:is, reference, all.number})

  @doc "Those of the numbers that are not known, or not reached yet."
  def missing(all, numbers) do
    Map.filter(numbers, fn {pid, number} ->
      case all.peers do
        %{^pid => peer} -> number == :asked or peer.applied < number
        _ -> false
      end
    end)
  end

  def status(all) do
    peers =
      Map.new(all.peers, fn {pid, peer} ->
        {node(pid), %{behind: all.number - peer.acked, names: :ets.info(peer.keys, :size)}}
      end)

    %{number: all.number, peers: peers}
  end

  defp message(kind, body), do: {:foundation_names, 1, self(), kind, body}
  defp send_to(pid, kind, body), do: :erlang.send(pid, message(kind, body), [:noconnect, :nosuspend])
  defp now, do: System.monotonic_time(:millisecond)
end
