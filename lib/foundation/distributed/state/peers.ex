defmodule Foundation.Distributed.State.Peers do
  @moduledoc false
  # What a replica knows of the others: who they are, what they have confirmed, how far they are behind. Pure data; times
  # are monotonic ms.
  #
  # A peer is behind by the pushes that it has not acknowledged. Only so many are kept to be sent again; of older ones only
  # the first time is known, and an exchange that ends equal settles them all.

  @kept 64
  @kept_bytes 8 * 1024 * 1024
  @unacked 1_000

  defstruct peers: %{}, seq: 0, window: %{}, window_bytes: 0

  @doc "A peer that has said hello. `:new` when it is one, or is one anew."
  def heard(%{peers: peers} = all, node, id, now) do
    case peers do
      %{^node => %{id: ^id} = peer} ->
        {if(peer.up, do: :known, else: :new),
         %{all | peers: %{peers | node => %{peer | up: true, heard: now}}}}

      _ ->
        peer = %{
          id: id,
          up: true,
          heard: now,
          since: now,
          unacked: %{},
          unacked_since: now,
          # {first number, when} of the pushes that are not among the unacknowledged: at first all that were ever made.
          beyond: {0, now},
          # The last push before the peer was given all that it lacked. Messages arrive in order, so that who has taken
          # a later one has taken that too.
          given: nil,
          equal_at: nil,
          refused: nil
        }

        {:new, %{all | peers: Map.put(peers, node, peer)}}
    end
  end

  def get(%{peers: peers}, node), do: peers[node]
  def up(%{peers: peers}), do: for({node, %{up: true}} <- peers, do: node)
  def ids(%{peers: peers}), do: for({_node, %{id: id}} <- peers, do: id)
  def count(%{peers: peers}), do: map_size(peers)

  @doc "The node cannot be reached."
  def down(all, node, now), do: change(all, node, &%{&1 | up: false, since: now})

  @doc "The node has left, or is not to be counted any longer."
  def remove(%{peers: peers} = all, node), do: %{all | peers: Map.delete(peers, node)}

  @doc "Nodes that were down for longer than `ms`."
  def lost(%{peers: peers}, now, ms),
    do: for({node, %{up: false, since: since}} <- peers, now - since > ms, do: node)

  @doc "A push to every peer: its number. `message` is nil when it cannot be sent again."
  def pushed(%{peers: peers, seq: seq} = all, message, now) do
    seq = seq + 1
    peers = Map.new(peers, fn {node, peer} -> {node, unacked(peer, seq, now)} end)
    {seq, keep(%{all | peers: peers, seq: seq}, seq, message)}
  end

  defp unacked(peer, seq, now) do
    peer = %{peer | unacked_since: peer.unacked_since || now}

    if map_size(peer.unacked) < @unacked,
      do: put_in(peer.unacked[seq], now),
      else: %{peer | beyond: peer.beyond || {seq, now}, given: nil}
  end

  defp keep(all, _seq, nil), do: all

  defp keep(all, seq, message) do
    all = if room?(all, message), do: all, else: prune(all)

    if room?(all, message),
      do: %{
        all
        | window: Map.put(all.window, seq, message),
          window_bytes: all.window_bytes + byte_size(message)
      },
      else: all
  end

  defp room?(all, message),
    do: map_size(all.window) < @kept and all.window_bytes + byte_size(message) <= @kept_bytes

  # What nobody has yet to acknowledge is not sent again; who is down gets all by an exchange when it is back.
  defp prune(all) do
    wanted = for {_, %{up: true} = peer} <- all.peers, {seq, _} <- peer.unacked, into: %{}, do: {seq, true}
    window = Map.filter(all.window, fn {seq, _} -> is_map_key(wanted, seq) end)
    bytes = Enum.reduce(window, 0, fn {_, message}, sum -> sum + byte_size(message) end)
    %{all | window: window, window_bytes: bytes}
  end

  @doc "The peer has taken that push."
  def acked(all, node, seq) do
    change(all, node, fn peer ->
      unacked = Map.delete(peer.unacked, seq)
      settled = peer.given != nil and seq > peer.given
      peer = if settled, do: %{peer | beyond: nil, given: nil}, else: peer
      %{peer | unacked: unacked, unacked_since: earliest(unacked, peer.beyond)}
    end)
  end

  @doc "All that the peer lacked was sent to it."
  def given(all, node), do: change(all, node, &%{&1 | given: &1.given || (&1.beyond && all.seq)})

  defp earliest(unacked, beyond) do
    times = if beyond, do: [elem(beyond, 1) | Map.values(unacked)], else: Map.values(unacked)
    Enum.min(times, fn -> nil end)
  end

  @doc "The peer had the same at `then`: every push before that is settled."
  def equal(all, node, then, now) do
    change(all, node, fn peer ->
      unacked = Map.filter(peer.unacked, fn {_, at} -> at >= then end)
      beyond = if match?({_, at} when at < then, peer.beyond), do: nil, else: peer.beyond
      since = earliest(unacked, beyond)
      given = if beyond, do: peer.given
      peer = %{peer | unacked: unacked, beyond: beyond, given: given, unacked_since: since}
      %{peer | equal_at: now, refused: nil}
    end)
  end

  @doc "The peer's message was refused for that reason, or ours by it."
  def refused(all, node, reason), do: change(all, node, &%{&1 | refused: reason})

  @doc "How many peers have confirmed every push up to that number."
  def confirmed(%{peers: peers}, seq) do
    Enum.count(peers, fn {_, peer} ->
      not match?({n, _} when n <= seq, peer.beyond) and
        not Enum.any?(peer.unacked, fn {n, _} -> n <= seq end)
    end)
  end

  @doc "What is to be sent again up to that number: `{node, seq, message}`."
  def again(%{peers: peers, window: window}, seq, now, after_ms) do
    for {node, %{up: true} = peer} <- peers,
        {n, at} <- peer.unacked,
        n <= seq and now - at >= after_ms,
        message = window[n],
        do: {node, n, message}
  end

  @doc "How long the peer has lacked something of ours, in ms; 0 when it lacks nothing."
  def lag(%{unacked_since: nil}, _now), do: 0
  def lag(%{unacked_since: since}, now), do: now - since

  defp change(%{peers: peers} = all, node, fun) do
    case peers do
      %{^node => peer} -> %{all | peers: %{peers | node => fun.(peer)}}
      _ -> all
    end
  end
end
