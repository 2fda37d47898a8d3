defmodule Foundation.Cluster.Strategy.Gossip do
  @moduledoc """
  Says by UDP multicast that this node is here, and connects to those who say so: the gossip of libcluster, packet for
  packet, so that nodes with libcluster and nodes with Foundation form one cluster.

      config :foundation, cluster: :gossip
      config :foundation, cluster: {:gossip, port: 45_892, secret: "between us"}

  Options, as in libcluster: `port` (45,892); `if_addr`: the address to bind to (`"0.0.0.0"`); `multicast_addr`: the
  group, by default both that libcluster has now, `"233.252.1.32"`, and the one it had, `"230.1.1.251"`; `multicast_if`: the
  address of the one interface to use, by default every one that is up; `multicast_ttl` (1: the local network);
  `broadcast_only: true`: broadcast to `multicast_addr`, such as `"255.255.255.255"`, where multicast is not let through;
  `secret`: packets are encrypted with it, and others are not heeded.

  A node says it is here at once, twice more within the first second, then at random within each five. One that was not
  heard of for 30 s is no longer looked for; it is never disconnected for that. Packets cost a bounded amount of work:
  what is not a heartbeat is counted and dropped, no term is made of what comes in, and at most 256 names never
  seen before are taken at once, then one a second.
  """

  use GenServer
  use Foundation.Cluster.Strategy

  alias Foundation.Cluster.{Strategy, Table}
  alias Foundation.Cluster.Strategy.Gossip.{Packet, Socket}

  @first_beats [80, 400]
  @beat_ms 5_000
  @silent_ms 30_000
  @reopen_ms 1_000
  @pause_ms 50
  @new_names 256

  @impl Strategy
  def start_link([state]), do: GenServer.start_link(__MODULE__, state)

  @impl GenServer
  def init(%{config: config} = state) do
    case Keyword.get(config, :secret) do
      secret when is_nil(secret) or is_binary(secret) ->
        gossip = %{
          state: %{state | config: Keyword.delete(config, :secret)},
          secret: fn -> secret end,
          socket: nil,
          beats: @first_beats,
          heard: %{},
          connecting: %{},
          names: {@new_names, now()},
          refused: 0
        }

        {:ok, gossip, {:continue, :open}}

      _other ->
        {:stop, {:invalid_config, %{key: "secret", value: :concealed, expected: "a string"}}}
    end
  end

  @impl GenServer
  def handle_continue(:open, gossip), do: {:noreply, open(gossip)}

  @impl GenServer
  def handle_info(:open, gossip), do: {:noreply, open(gossip)}
  def handle_info(:beat, gossip), do: {:noreply, gossip |> silent() |> beat()}

  def handle_info({:udp, _socket, _ip, _port, packet}, gossip) do
    case Packet.decode(packet, gossip.secret.()) do
      {:ok, name} -> {:noreply, heard(gossip, name)}
      :error -> {:noreply, %{gossip | refused: gossip.refused + 1}}
    end
  end

  # A batch is through; a flood waits here, not in the mailbox.
  def handle_info({:udp_passive, _socket}, gossip) do
    Process.send_after(self(), :more, @pause_ms)
    {:noreply, gossip}
  end

  def handle_info(:more, %{socket: nil} = gossip), do: {:noreply, gossip}

  def handle_info(:more, gossip) do
    Socket.more(gossip.socket)
    {:noreply, gossip}
  end

  def handle_info({:udp_error, _socket, _reason}, gossip), do: {:noreply, gossip}

  def handle_info({:udp_closed, _socket}, gossip), do: {:noreply, open(%{gossip | socket: nil})}

  def handle_info({:DOWN, reference, :process, _pid, _reason}, gossip),
    do: {:noreply, %{gossip | connecting: Map.delete(gossip.connecting, reference)}}

  def handle_info(_other, gossip), do: {:noreply, gossip}

  defp open(%{state: state} = gossip) do
    case Socket.open(state.config) do
      {:ok, socket} ->
        Strategy.report(state, {:ok, []})
        beat(%{gossip | socket: socket})

      {:error, reason} ->
        Strategy.report(state, {:error, {:socket, reason}})
        Process.send_after(self(), :open, @reopen_ms + :rand.uniform(@reopen_ms))
        gossip
    end
  end

  defp beat(%{socket: nil} = gossip), do: gossip

  defp beat(%{state: state} = gossip) do
    case Socket.send(gossip.socket, Packet.encode(node(), gossip.secret.())) do
      :ok -> Strategy.report(state, {:ok, Map.keys(gossip.heard)})
      {:error, reason} -> Strategy.report(state, {:error, {:send, reason}})
    end

    {ms, beats} =
      case gossip.beats do
        [ms | beats] -> {ms, beats}
        [] -> {:rand.uniform(@beat_ms), []}
      end

    Process.send_after(self(), :beat, ms)
    %{gossip | beats: beats}
  end

  defp heard(gossip, name) do
    case to_node(gossip, name) do
      {node, gossip} when node == node() -> gossip
      {nil, gossip} -> %{gossip | refused: gossip.refused + 1}
      {node, gossip} -> connect(put_in(gossip.heard[node], now()), node)
    end
  end

  defp connect(%{state: state} = gossip, node) do
    if node in Map.values(gossip.connecting) or (state.topology in Table.claims(node) and node in Node.list()) do
      gossip
    else
      {_pid, reference} =
        spawn_monitor(fn ->
          Strategy.connect_nodes(state.topology, state.connect, state.list_nodes, [node])
        end)

      put_in(gossip.connecting[reference], node)
    end
  end

  # A name that is no atom yet costs one of those that may be made.
  defp to_node(%{names: {left, since}} = gossip, name) do
    {String.to_existing_atom(name), gossip}
  rescue
    ArgumentError ->
      earned = div(now() - since, 1_000)
      left = min(left + earned, @new_names)

      if left > 0,
        do: {String.to_atom(name), %{gossip | names: {left - 1, since + earned * 1_000}}},
        else: {nil, gossip}
  end

  # Those that were heard of once and are no more.
  defp silent(%{state: state, heard: heard} = gossip) do
    limit = now() - @silent_ms
    gone = for {node, at} <- heard, at < limit, do: node
    Strategy.release(state, gone)
    %{gossip | heard: Map.drop(heard, gone)}
  end

  defp now, do: System.monotonic_time(:millisecond)
end
