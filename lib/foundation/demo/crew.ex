defmodule Foundation.Demo.Crew do
  @moduledoc false
  # The nodes the demo works on: this one, and others in operating system processes of their own. Nobody tells them of
  # each other: each has `cluster: true` and a cookie that only they know. Keeps what happened to them, in order.
  #
  # The others are controlled over their standard input, and so end with this one.

  use GenServer

  alias Foundation.{Cluster, Demo.Guard}

  @form_ms 20_000
  @boot_ms 60_000

  @type moment :: %{at_us: non_neg_integer, node: String.t(), what: atom, says: String.t()}
  @type place :: %{label: String.t(), node: node, files: non_neg_integer}
  @type story :: %{nodes: [place], moments: [moment]}

  @doc "Starts `count` nodes with this one and waits until they have found each other."
  @spec start(pos_integer) :: {:ok, pid} | {:error, term}
  def start(count), do: GenServer.start_link(__MODULE__, count)

  @spec nodes(pid) :: [node]
  def nodes(crew), do: GenServer.call(crew, :nodes)

  @doc "Ends the last of the others as a crash of its machine would, with no chance to say goodbye."
  @spec kill_one(pid) :: :ok
  def kill_one(crew), do: GenServer.call(crew, :kill_one)

  @doc "Ends this one of the others so."
  @spec kill(pid, node) :: :ok
  def kill(crew, node), do: GenServer.call(crew, {:kill, node})

  @doc "Starts a node for each that was killed, and waits until all have found each other: when that began."
  @spec refill(pid) :: {:ok, since :: non_neg_integer} | {:error, term}
  def refill(crew), do: GenServer.call(crew, :refill, @boot_ms + @form_ms)

  @doc "What the nodes are called."
  @spec labels(pid) :: %{node => String.t()}
  def labels(crew), do: GenServer.call(crew, :labels)

  @doc "Adds to what happened."
  @spec remark(pid, node, atom, String.t()) :: :ok
  def remark(crew, node, what, says), do: GenServer.call(crew, {:remark, node, what, says})

  @doc """
  What happened from `since` (µs from the beginning) until now, and the nodes that were there then; `files` says how many each
  of them did.
  """
  @spec story(pid, %{node => non_neg_integer}, [{atom, String.t()}], non_neg_integer) :: story
  def story(crew, files, remarks, since \\ 0), do: GenServer.call(crew, {:story, files, remarks, since})

  @doc "Ends the other nodes and leaves the cluster."
  @spec stop(pid) :: :ok
  def stop(crew), do: GenServer.stop(crew, :normal, @boot_ms)

  @impl true
  def init(count) do
    Process.flag(:trap_exit, true)
    options = [cookie: secret()]

    state = %{
      began: System.monotonic_time(:microsecond),
      count: count,
      options: options,
      peers: [],
      gone: %{},
      labels: %{},
      moments: []
    }

    with :ok <- Cluster.start(true, options),
         :ok <- Cluster.subscribe(),
         {:ok, peers} <- others(count - 1, options),
         state = note(label(%{state | peers: peers}), node(), :ready, "#{count} nodes started"),
         :ok <- Cluster.await_ready(quorum: count, timeout: @form_ms),
         :ok <- guards(peers) do
      {:ok, drain_mailbox(state)}
    else
      {:error, reason} ->
        Cluster.stop()
        {:stop, {:shutdown, reason}}
    end
  end

  defp secret, do: :"demo_#{Base.encode16(:crypto.strong_rand_bytes(16))}"

  # -- other nodes -------------------------------------------------------------------------------------------------

  defp others(count, options) do
    peers =
      1..count//1
      |> Enum.map(fn _ -> Task.async(fn -> other(options) end) end)
      |> Task.await_many(@boot_ms)

    case Enum.find(peers, &match?({:error, _}, &1)) do
      nil -> {:ok, Enum.map(peers, &elem(&1, 1))}
      error -> error
    end
  end

  defp other(options) do
    with {:ok, peer} <- start_peer() do
      run = fn module, function, arguments -> :peer.call(peer, module, function, arguments, @boot_ms) end
      :ok = run.(:code, :add_pathsa, [:code.get_path()])

      for {key, value} <- [cluster: true, cluster_options: options],
          do: run.(:application, :set_env, [:foundation, key, value])

      run.(:application, :set_env, [:logger, :level, :error])

      with {:ok, _} <- run.(:application, :ensure_all_started, [:foundation]),
           do: {:ok, %{peer: peer, node: run.(:erlang, :node, []), os_pid: run.(System, :pid, [])}}
    end
  end

  # A node without a name: it has none before its cluster gives it one.
  defp start_peer do
    case :peer.start(%{connection: :standard_io}) do
      {:ok, peer, _no_node} -> {:ok, peer}
      other -> other
    end
  end

  defp guards(peers) do
    peers
    |> Enum.map(& &1.node)
    |> :erpc.multicall(Guard, :start, [], @boot_ms)
    |> Enum.find(:ok, &(&1 != {:ok, :ok}))
    |> case do
      :ok -> :ok
      other -> {:error, {:guard, other}}
    end
  end

  # -- calls -------------------------------------------------------------------------------------------------------

  @impl true
  def handle_call(:nodes, _from, state), do: {:reply, [node() | Enum.map(state.peers, & &1.node)], state}

  def handle_call(:kill_one, _from, %{peers: []} = state), do: {:reply, :ok, state}
  def handle_call(:kill_one, _from, state), do: {:reply, :ok, end_now(List.last(state.peers), state)}

  def handle_call({:kill, node}, _from, state) do
    case Enum.find(state.peers, &(&1.node == node)) do
      nil -> {:reply, :ok, state}
      peer -> {:reply, :ok, end_now(peer, state)}
    end
  end

  def handle_call(:refill, _from, %{count: count, peers: peers} = state) when length(peers) == count - 1,
    do: {:reply, {:ok, passed(state)}, state}

  def handle_call(:refill, _from, %{peers: peers} = state) do
    since = passed(state)

    with {:ok, fresh} <- others(state.count - 1 - length(peers), state.options),
         state = label(%{state | peers: peers ++ fresh}),
         :ok <- Cluster.await_ready(quorum: state.count, timeout: @form_ms) do
      {:reply, {:ok, since}, drain_mailbox(state)}
    else
      error -> {:reply, error, state}
    end
  end

  def handle_call(:labels, _from, state), do: {:reply, state.labels, state}

  def handle_call({:remark, node, what, says}, _from, state),
    do: {:reply, :ok, state |> drain_mailbox() |> note(node, what, says)}

  def handle_call({:story, files, remarks, since}, _from, state) do
    state =
      Enum.reduce(remarks, drain_mailbox(state), fn {what, says}, state -> note(state, node(), what, says) end)

    nodes =
      for {node, label} <- Enum.sort_by(state.labels, &elem(&1, 1)),
          not is_map_key(state.gone, node) or state.gone[node] >= since,
          do: %{label: label, node: node, files: Map.get(files, node, 0)}

    moments = state.moments |> Enum.take_while(&(&1.at_us >= since)) |> Enum.reverse()
    {:reply, %{nodes: nodes, moments: moments}, state}
  end

  defp end_now(%{node: node, os_pid: os_pid} = peer, state) do
    state = note(state, node, :killed, "killed by the demo (kill -9)")
    {_, 0} = System.cmd("kill", ["-9", os_pid])
    %{state | peers: List.delete(state.peers, peer), gone: Map.put(state.gone, node, passed(state))}
  end

  @impl true
  def handle_info({:foundation_cluster, event}, state), do: {:noreply, happened(state, event)}
  def handle_info(_peer_ended, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    for %{peer: peer} <- state.peers, Process.alive?(peer), do: end_peer(peer)
    Cluster.stop()
  end

  defp end_peer(peer) do
    :peer.stop(peer)
  catch
    :exit, _ -> :ok
  end

  # -- the story ---------------------------------------------------------------------------------------------------

  # In the order in which they came.
  defp label(state) do
    labels =
      for node <- [node() | Enum.map(state.peers, & &1.node)],
          reduce: state.labels,
          do: (labels -> Map.put_new(labels, node, "node #{map_size(labels) + 1}"))

    %{state | labels: labels}
  end

  defp drain_mailbox(state) do
    receive do
      {:foundation_cluster, event} -> state |> happened(event) |> drain_mailbox()
    after
      0 -> state
    end
  end

  defp happened(state, %{event: event, node: node, reason: reason}),
    do: note(state, node, event, says(event, reason))

  defp says(:joined, {:found_by, topologies}),
    do: "joined, found by #{Enum.map_join(topologies, ", ", &to_string/1)}"

  defp says(:joined, :connected_to_us), do: "joined, it found us"
  defp says(:unreachable, reason), do: "unreachable: #{inspect(reason)}"
  defp says(:left, {:goodbye, reason}), do: "left, saying #{inspect(reason)}"
  defp says(event, reason), do: "#{event}: #{inspect(reason)}"

  defp note(state, node, what, says) do
    moment = %{
      at_us: passed(state),
      node: Map.get(state.labels, node, to_string(node)),
      what: what,
      says: says
    }

    %{state | moments: [moment | state.moments]}
  end

  defp passed(state), do: System.monotonic_time(:microsecond) - state.began
end
