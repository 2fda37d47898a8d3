defmodule AstAnalysis.Crew do
  @moduledoc """
  The nodes that the analysts live on.

  This node is the debugger's: it asks. The others are operating system processes of their own that find each other and it,
  form a coordination group, and have agents placed on them. When one is killed, its agents go on at the others.
  """

  alias Foundation.{Cluster, MABEAM}
  alias Foundation.Distributed.Consensus
  alias Foundation.MABEAM.AgentRegistry

  @boot_ms 60_000
  @form_ms 60_000
  @poll_ms 50

  @type t :: [%{peer: pid, node: node, os_pid: String.t()}]

  @doc "Starts that many nodes and waits until agents can be placed on them."
  @spec start(pos_integer) :: t
  def start(count) do
    options = [cookie: :"ast_#{Base.encode16(:crypto.strong_rand_bytes(16))}"]
    :ok = Cluster.start(true, options)

    crew =
      1..count
      |> Task.async_stream(fn _ -> boot(count, options) end, max_concurrency: count, timeout: @boot_ms)
      |> Enum.map(fn {:ok, member} -> member end)

    :ok = Cluster.await_ready(quorum: count + 1, timeout: @form_ms)
    {:ok, _} = MABEAM.start()
    await(fn -> Enum.all?(crew, &ready?(&1, count)) end, @form_ms, "the nodes form no group")
    crew
  end

  # It ends with the standard input that this node holds, and so with this node.
  defp boot(count, options) do
    arguments = [~c"-kernel", ~c"logger_level", ~c"critical"]

    {:ok, peer, _no_name_yet} =
      :peer.start(%{connection: :standard_io, args: arguments, shutdown: :close, wait_boot: @boot_ms})

    run = fn module, function, arguments -> :peer.call(peer, module, function, arguments, @boot_ms) end
    :ok = run.(:code, :add_pathsa, [:code.get_path()])
    run.(:application, :set_env, [:logger, :level, :critical])
    for {key, value} <- settings(count, options), do: run.(:application, :set_env, [:foundation, key, value])
    {:ok, _} = run.(:application, :ensure_all_started, [:foundation])
    %{peer: peer, node: run.(:erlang, :node, []), os_pid: run.(System, :pid, [])}
  end

  defp settings(count, options) do
    [
      cluster: true,
      cluster_options: options,
      coordination: [expect: count, session_ms: 1_500],
      mabeam: [placement: [placement: :least_load, down_after: 100]]
    ]
  end

  defp ready?(%{node: node}, count) do
    members = :erpc.call(node, Consensus, :members, [Consensus.default_group()])

    match?({:ok, list} when length(list) == count, members) and
      match?({:ok, _agents}, :erpc.call(node, AgentRegistry, :placed_agents, []))
  end

  @doc "Has that many analysts placed on the nodes, each once in the cluster: their ids."
  @spec place(t, pos_integer) :: [String.t()]
  def place(crew, count) do
    for number <- 1..count do
      id = "analyst-#{number}"

      attributes = [
        module: AstAnalysis.Analyst,
        args: %{number: number, of: count},
        type: :analyst,
        snapshot_every: 1,
        # Beginning a new life, an analyst reads all that it owns.
        callback_timeout: 60_000
      ]

      :ok = :erpc.call(hd(crew).node, AgentRegistry, :place_agent, [id, attributes])
      id
    end
  end

  @doc "Which analysts are on which node, `:nowhere` for those that are moving."
  @spec whereabouts(t) :: %{(node | :nowhere) => [String.t()]}
  def whereabouts(crew) do
    {:ok, agents} = crew |> alive() |> hd() |> :erpc.call(AgentRegistry, :placed_agents, [])
    Enum.group_by(agents, &if(&1.running, do: &1.node, else: :nowhere), & &1.id)
  end

  @doc "Ends the last node as a crash of its machine would: what was on it, and where it went."
  @spec kill_one(t) :: %{node: node, analysts: [String.t()]}
  def kill_one(crew) do
    %{node: node, os_pid: os_pid} = List.last(crew)
    analysts = Map.get(whereabouts(crew), node, [])
    {_, 0} = System.cmd("kill", ["-9", os_pid])
    %{node: node, analysts: analysts}
  end

  @doc "The nodes that are up."
  @spec alive(t) :: [node]
  def alive(crew), do: for(%{node: node, peer: peer} <- crew, Process.alive?(peer), do: node)

  @doc "Ends all of it."
  @spec stop(t) :: :ok
  def stop(crew) do
    for %{peer: peer} <- crew, Process.alive?(peer), do: end_peer(peer)
    MABEAM.stop()
    Cluster.stop()
  end

  # It may end by itself meanwhile.
  defp end_peer(peer) do
    :peer.stop(peer)
  catch
    :exit, _ -> :ok
  end

  defp await(condition, left_ms, otherwise) do
    cond do
      condition.() ->
        :ok

      left_ms <= 0 ->
        raise otherwise

      true ->
        Process.sleep(@poll_ms)
        await(condition, left_ms - @poll_ms, otherwise)
    end
  end
end
