defmodule Foundation.Cluster.Federation do
  @moduledoc """
  Calls functions in other clusters, which share no cookie and no secret with this one, and lets them call a few here.

      # in the cluster :app, on the node that is its gateway
      config :foundation,
        clusters: %{
          app: [secret: {:system, "APP_SECRET"}, gateway: [port: 4500]],
          ai: [authority: "/etc/ai.pem", allow: [{Orders, :total, 1}], quota: [calls_per_second: 50]]
        }

      # in the cluster :ai
      config :foundation,
        clusters: %{
          ai: [secret: {:system, "AI_SECRET"}],
          app: [authority: "/etc/app.pem", gateways: ["10.0.0.5:4500"]]
        }


  A cluster with a `:secret` is one that this node is a member of. The secret proves the node to others by a certificate
  of the authority that is derived from it; the authority's certificate (`authority/1`) is public, and is what other
  clusters are given as `:authority`. Neither cluster learns the other's secret.

  | option | of | meaning |
  |---|---|---|
  | `:secret` | a member's | a binary of 16 bytes or more; `:cookie`; `{:system, variable}` |
  | `:accept` | a member's | up to eight more secrets, while one is exchanged for another; their authorities are told too |
  | `:strategy`, `:topology`, `:channels`, `:fabric`, `:seeds`, `:partitions` | a member's | any of them: the node joins that cluster with a fabric of its own, see `Foundation.Distributed.Clusters` |
  | `:gateway` | a member's | `true` or `[port: 0, bind: "0.0.0.0"]`: accept calls for this cluster here |
  | `:authority` | another's | PEM text, or the path of a PEM file, with one certificate or more |
  | `:as` | another's | the cluster in whose name this node calls; needed when it is a member of several |
  | `:gateways` | any | `"host:port"`, at most 64: where to call; names are looked up at the start |
  | `:allow` | any | `{module, function, arity}` that the cluster may call here; nothing else is |
  | `:quota` | any | `:calls_per_second` (1,000), `:bytes_per_second` (16 MiB), `:at_a_time` (64) it may use here |

  ## What a gateway does with a call

  The caller's certificate says which cluster it is from. Its quota is charged; the function's name is compared with the
  names that `:allow` holds for that cluster, before anything is decoded; the arguments are decoded without making atoms;
  whatever is not plain data (numbers, binaries, atoms, lists, tuples, maps) is refused, functions and processes among
  it. The function runs in a process of its own with a bound on its memory (256 MiB) and until the caller stops waiting.
  What it raises is logged here, and told to nobody.

  The other side is told when the caller's deadline is over, when the caller is gone, and when its node is; the process
  that makes the call is ended then.

  **Scheduling**: `call/3` and `info/0` run on dirty CPU schedulers (a copy of the payload); answers come as messages.
  """

  alias Foundation.Cluster.Federation.{Member, Options, Pem, Server, Wire}
  alias Foundation.Native

  @key :foundation_federation
  @timeout 5_000

  @type cluster :: atom
  @type reason ::
          :not_running
          | :unknown_cluster
          | :unreachable
          | :broken
          | :timeout
          | :busy
          | :too_large
          | :not_plain
          | :not_allowed
          | :failed
          | :malformed
          | {:quota, retry_after_ms :: pos_integer}

  @doc false
  # The children that the environment asks for.
  @spec children() :: {:ok, [Supervisor.child_spec()]} | {:error, term}
  def children do
    case Application.get_env(:foundation, :clusters) do
      none when none in [nil, %{}, []] -> {:ok, []}
      clusters -> with({:ok, options} <- Options.read(clusters), do: {:ok, [{Server, options}]})
    end
  end

  @doc """
  Starts a federation with the clusters of a map, as `config :foundation, clusters: map` does with the application; the
  clusters that have a fabric are joined by `Foundation.Distributed.Clusters.join/2`.

  Errors: `{:invalid_config, %{key: key, value: value, expected: text}}`, `{:gateway, text}` when a gateway cannot be
  bound, `{:identity, text}`, `:already_started`, `:not_running` when the application is not.
  """
  @spec start(map | keyword) :: :ok | {:error, term}
  def start(clusters) do
    with {:ok, options} <- Options.read(clusters), do: started(start_child(options))
  end

  defp start_child(options) do
    with {:error, :already_present} <- Supervisor.start_child(Foundation.Supervisor, {Server, options}) do
      _ = Supervisor.delete_child(Foundation.Supervisor, Server)
      Supervisor.start_child(Foundation.Supervisor, {Server, options})
    end
  catch
    :exit, _ -> {:error, :not_running}
  end

  defp started({:ok, _pid}), do: :ok
  defp started({:error, {:already_started, _}}), do: {:error, :already_started}
  defp started({:error, {reason, {:child, _, _, _, _, _, _, _}}}), do: {:error, reason}

  defp started({:error, {reason, child}}) when is_tuple(child) and elem(child, 0) == :child,
    do: {:error, reason}

  defp started({:error, reason}), do: {:error, reason}

  @doc "Stops the federation: gateways close, calls under way are lost. `:ok`, also when none runs."
  @spec stop() :: :ok
  def stop do
    _ = Supervisor.terminate_child(Foundation.Supervisor, Server)
    _ = Supervisor.delete_child(Foundation.Supervisor, Server)
    :ok
  catch
    :exit, _ -> :ok
  end

  @doc "The clusters that the configuration names, and those that this node has joined, in order. O(clusters)."
  @spec clusters() :: [cluster]
  def clusters do
    case running() do
      {:ok, %{clusters: clusters}} -> Enum.uniq(Enum.sort(clusters ++ Member.clusters()))
      {:error, :not_running} -> Enum.sort(Member.clusters())
    end
  end

  @doc """
  The names of a cluster's nodes, as text: of one that this node has joined as its own fabric knows them, this node among
  them; of another as its gateway does. The other cluster must allow `{Foundation.Cluster.Federation, :node_names, 0}`.
  Errors: as `call/3`. One call, or none.
  """
  @spec nodes(cluster) :: {:ok, [String.t()]} | {:error, reason}
  def nodes(cluster) do
    case Member.get(cluster) do
      nil -> call(cluster, {__MODULE__, :node_names, []}, [])
      %{nodes: nodes} -> {:ok, Enum.map(nodes.(), &Atom.to_string/1)}
    end
  end

  @doc """
  The names of this cluster's nodes, as text: what `nodes/1` of another cluster is told, if it is allowed. O(nodes).

      iex> to_string(node()) in Foundation.Cluster.Federation.node_names()
      true
  """
  @spec node_names() :: [String.t()]
  def node_names, do: Enum.map(Foundation.Cluster.Membership.nodes(), &Atom.to_string/1)

  @doc """
  Calls a function in another cluster: on a node of it when this one has joined it, else through a gateway. `timeout:` in
  ms (5,000). In a joined cluster nodes are asked in turn until one allows the function.

  Errors: `:unknown_cluster`; `:unreachable` when no gateway takes a link, also right after failed attempts;
  `:too_large` (request or answer, 1 MiB); `:not_plain` when an argument or the answer holds something that is not plain
  data, or an atom that is not known here; `:busy` at 4,096 calls under way; `{:quota, ms}` when the other cluster has
  used up what it is given, with the time until a retry can succeed; `:not_allowed`; `:failed` when the function raised,
  was ended, or is gone; `:malformed`; `:timeout` and `:broken`, after which it is not known whether the call was made;
  `:not_running`. One round trip; O(bytes).
  """
  @spec call(cluster, {module, atom, [term]}, keyword) :: {:ok, term} | {:error, reason}
  def call(cluster, {module, function, args} = target, opts)
      when is_atom(cluster) and is_atom(module) and is_atom(function) and is_list(args) do
    timeout = Keyword.get(opts, :timeout, @timeout)

    unless is_integer(timeout) and timeout > 0 and timeout < 4_294_967_296,
      do: reject("timeout", timeout, "a number of milliseconds above 0")

    case Member.get(cluster) do
      nil ->
        with {:ok, %{handle: handle}} <- running(),
             {:ok, request} <- Wire.request(target),
             do: send_request(handle, Atom.to_string(cluster), request, timeout)

      %{call: member} ->
        with {:ok, request} <- Wire.request(target), do: request |> member.(timeout) |> Wire.answer()
    end
  end

  def call(cluster, target, opts) do
    unless is_atom(cluster), do: reject("cluster", cluster, "a cluster's name, an atom")
    unless is_list(opts), do: reject("opts", opts, "a keyword list")
    reject("target", target, "{module, function, arguments}")
  end

  defp send_request(handle, cluster, request, timeout) do
    reference = make_ref()

    # Nobody else holds `call`: when this process ends, the other side is told.
    with {:ok, call} <- Native.federation_call(handle, cluster, request, timeout, reference) do
      # The native side answers by the deadline; the rest is for a machine that is very busy.
      answer =
        receive do
          {^reference, answer} -> Wire.answer(answer)
        after
          timeout + 5_000 -> {:error, :timeout}
        end

      Native.federation_cancel(call)
      answer
    end
  end

  @doc """
  The authority's certificates of a cluster that this node is a member of, as PEM text, for other clusters to pin. Public.
  Errors: `:unknown_cluster`, `:not_running`.
  """
  @spec authority(cluster) :: {:ok, String.t()} | {:error, :unknown_cluster | :not_running}
  def authority(cluster) when is_atom(cluster) do
    with {:ok, %{handle: handle}} <- running() do
      case Native.federation_cluster(handle, Atom.to_string(cluster)) do
        {_, nil, _} -> {:error, :unknown_cluster}
        {_, certificates, _} -> {:ok, Pem.encode(certificates)}
      end
    end
  end

  @doc """
  How the federation stands: for each cluster `member` (whether this node is one), `gateway` (the address that ours accepts
  calls at, or nil) and `linked` (the gateway of it that calls go to now, or nil); `refused`, links that our gateways
  refused, by reason; `served`, calls answered here, by outcome. No secret is part of it. O(clusters).

  Errors: `:not_running`.
  """
  @spec info() :: {:ok, map} | {:error, :not_running}
  def info do
    with {:ok, %{handle: handle, clusters: clusters}} <- running() do
      clusters = Map.new(clusters, &{&1, cluster_info(handle, &1)})

      {:ok,
       %{clusters: clusters, refused: Map.new(Native.federation_refused(handle)), served: Server.served()}}
    end
  end

  defp cluster_info(handle, cluster) do
    {gateway, authorities, linked} = Native.federation_cluster(handle, Atom.to_string(cluster))
    %{member: authorities != nil, gateway: gateway, linked: linked}
  end

  defp running do
    case :persistent_term.get(@key, nil) do
      nil -> {:error, :not_running}
      running -> {:ok, running}
    end
  end

  defp reject(argument, value, expected),
    do: raise(ArgumentError, "#{argument} is #{inspect(value)}, and #{expected} was expected")
end
