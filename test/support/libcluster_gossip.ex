defmodule Foundation.LibclusterGossip do
  @moduledoc false
  # A node's gossip as libcluster does it: its packets, its socket and its reading, for tests of mixed clusters. Runs on a
  # node of its own.

  use GenServer

  @group {233, 252, 1, 32}

  @doc "The bytes of a heartbeat."
  def packet(node, nil), do: "heartbeat::" <> :erlang.term_to_binary(%{node: node})

  def packet(node, secret) do
    iv = :crypto.strong_rand_bytes(16)
    plain = packet(node, nil)
    short = 16 - rem(byte_size(plain), 16)
    padded = plain <> :binary.copy(<<short>>, short)
    iv <> :crypto.crypto_one_time(:aes_256_cbc, :crypto.hash(:sha256, secret), iv, padded, true)
  end

  @doc "The node in a heartbeat, read as libcluster reads: without any caution."
  def read("heartbeat::" <> term, nil) do
    %{node: node} = :erlang.binary_to_term(term)
    {:ok, node}
  end

  def read(<<iv::binary-size(16), cipher::binary>>, secret) do
    plain = :crypto.crypto_one_time(:aes_256_cbc, :crypto.hash(:sha256, secret), iv, cipher, false)
    plain |> binary_part(0, byte_size(plain) - :binary.last(plain)) |> read(nil)
  end

  @doc "Starts a peer that gossips: `port:`, `secret:`, `group:`, `every:` ms (default 200)."
  def start(opts), do: GenServer.start(__MODULE__, opts)

  @impl true
  def init(opts) do
    group = Keyword.get(opts, :group, @group)

    {:ok, socket} =
      :gen_udp.open(opts[:port], [
        :binary,
        active: true,
        ip: {0, 0, 0, 0},
        reuseaddr: true,
        broadcast: true,
        multicast_ttl: 1,
        multicast_loop: true,
        add_membership: {group, {0, 0, 0, 0}}
      ])

    send(self(), :heartbeat)

    {:ok,
     %{socket: socket, group: group, port: opts[:port], secret: opts[:secret], every: opts[:every] || 200}}
  end

  @impl true
  def handle_info(:heartbeat, state) do
    :gen_udp.send(state.socket, state.group, state.port, packet(node(), state.secret))
    Process.send_after(self(), :heartbeat, state.every)
    {:noreply, state}
  end

  def handle_info({:udp, _socket, _ip, _port, packet}, state) do
    case read(packet, state.secret) do
      {:ok, node} when node != node() -> :net_kernel.connect_node(node)
      _ -> :ok
    end

    {:noreply, state}
  end
end
