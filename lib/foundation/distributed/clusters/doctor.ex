defmodule Foundation.Distributed.Clusters.Doctor do
  @moduledoc false
  # Why the nodes of a joined cluster do not come together: its configuration, this node's fabric in it, what its strategies
  # find, the addresses where no member is, the links that were refused, and what the overlay makes of the members.

  import Foundation.Cluster.Doctor.Finding

  alias Foundation.Cluster.Doctor.{Net, Sources}
  alias Foundation.Cluster.Strategy.Mdns
  alias Foundation.Cluster.{Config, Drain, Table}
  alias Foundation.Distributed.Clusters.{Options, Refused, Seeds}
  alias Foundation.Distributed.{Fabric, Topology}

  @limit 64
  @at_once 16
  @step_ms 10_000

  @type finding :: Foundation.Cluster.Doctor.Finding.t()

  @doc "What is found of a cluster that this node has joined, or that its configuration names; `expected` nodes besides."
  @spec findings(atom, [node]) :: [finding]
  def findings(cluster, expected) do
    case Fabric.handle(cluster) do
      nil -> absent(cluster, Options.entry(cluster), expected)
      _handle -> joined(cluster, expected)
    end
  end

  # -- a cluster that this node is in --------------------------------------------------------------------------------

  defp joined(cluster, expected) do
    {:ok, info} = Fabric.info(cluster: cluster)
    sources = Enum.map(Options.topology_names(cluster), &reported/1)
    seeds = Seeds.wanted(cluster)

    draining(cluster) ++
      [ok(:fabric, "this node's fabric in #{cluster} accepts links at #{info.address}")] ++
      strategies(cluster, sources, seeds) ++
      members(cluster, expected) ++ addresses(seeds, transport(cluster)) ++ Refused.findings(info.refused)
  end

  defp draining(cluster) do
    case Drain.noted(cluster, node()) do
      nil -> []
      _info -> [drained(cluster)]
    end
  end

  defp drained(cluster) do
    warning(
      :drain,
      :draining,
      "this node is being drained out of #{cluster}, or has left it that way",
      "Foundation.Cluster.resume(cluster: #{inspect(cluster)})"
    )
  end

  defp reported(topology) do
    %{module: module} = Table.get({:strategy, topology}, %{module: nil})

    answer =
      case Table.get({:report, topology}) do
        nil -> :unknown
        %{error: nil, nodes: nodes} -> {:ok, nodes}
        %{error: reason} -> {:error, reason}
      end

    %{topology: Config.topology(topology, module, []), answer: answer, strangers: Mdns.strangers(topology)}
  end

  defp strategies(cluster, [], seeds) do
    if seeds == [] and Fabric.nodes(cluster) == [] do
      [
        warning(
          :strategy,
          :no_strategy,
          "#{cluster} has neither a strategy nor seeds here: this node looks for nobody, and waits to be found",
          "give its entry strategy: or seeds:"
        )
      ]
    else
      []
    end
  end

  # What they prove each other in such a cluster is its secret.
  defp strategies(_cluster, sources, _seeds) do
    for finding <- Sources.findings(sources),
        do: %{finding | says: of_secret(finding.says), change: finding.change && of_secret(finding.change)}
  end

  defp of_secret(text), do: String.replace(text, "cookie", "secret")

  defp members(cluster, expected) do
    nodes = Fabric.nodes(cluster)
    overlay = Enum.map(Topology.members(cluster: cluster), & &1.node)

    company(cluster, nodes) ++
      Enum.map(expected -- [node() | nodes], &missing(cluster, &1)) ++
      overlay(cluster, nodes, overlay) ++ suspects(cluster)
  end

  defp company(cluster, []) do
    [
      error(
        :members,
        :alone,
        "this node is alone in #{cluster}",
        "see the findings on strategies, addresses and links; when there are none, start other nodes of it"
      )
    ]
  end

  defp company(cluster, nodes), do: [ok(:members, "#{length(nodes)} other members of #{cluster} are up")]

  defp missing(cluster, node) do
    error(
      :peer,
      :not_linked,
      "#{node} is no member of #{cluster} as this node sees it",
      "ask the doctor there, with --cluster #{cluster}; the name is the one that node has in this cluster"
    )
  end

  # An overlay that is off has no members at all.
  defp overlay(cluster, nodes, members) do
    case {Topology.info(cluster: cluster), nodes -- members} do
      {{:ok, _info}, [_ | _] = silent} ->
        [
          warning(
            :datagrams,
            :udp_blocked,
            "the fabric knows #{names(silent)}, and the overlay hears nothing by datagrams: whether they live is not noticed",
            "let UDP pass on the fabric's port, as TCP does; where links are refused too, see that finding first"
          )
        ]

      _ ->
        []
    end
  end

  defp suspects(cluster) do
    case Topology.info(cluster: cluster) do
      {:ok, %{suspects: count}} when count > 0 ->
        [
          warning(
            :members,
            :suspects,
            "#{count} members of #{cluster} do not answer at this moment",
            "look again in some seconds; if it goes on, look at the load of these nodes and of the network"
          )
        ]

      _ ->
        []
    end
  end

  defp names(nodes), do: Enum.map_join(Enum.take(nodes, 8), ", ", &to_string/1)

  # -- where somebody should be --------------------------------------------------------------------------------------

  defp transport(cluster), do: get_in(Options.entry(cluster) || [], [:fabric, :transport]) || :tls

  # A port for datagrams alone cannot be tried without being a member.
  defp addresses([], _transport), do: []

  defp addresses(seeds, :quic) do
    [
      warning(
        :seed,
        :no_member,
        "no member was found at #{Enum.map_join(Enum.take(seeds, 8), ", ", & &1)}",
        "see that nodes of this cluster run there, and that UDP passes"
      )
    ]
  end

  defp addresses(seeds, :tls) do
    seeds
    |> Enum.take(@limit)
    |> Task.async_stream(&examine/1, max_concurrency: @at_once, timeout: @step_ms, on_timeout: :kill_task)
    |> Enum.zip(seeds)
    |> Enum.map(fn
      {{:ok, finding}, _seed} -> finding
      {{:exit, _}, seed} -> blocked(seed)
    end)
  end

  defp examine(seed) do
    with {:ok, address, port} <- parse(seed),
         {:ok, socket} <- Net.connect(address, port, []) do
      :gen_tcp.close(socket)

      error(
        :seed,
        :no_member,
        "#{seed} takes connections, and what listens there does not become a member",
        "see that it is a fabric of this cluster, with the same name and secret: its own doctor tells of links refused"
      )
    else
      {:error, :econnrefused} ->
        error(
          :seed,
          :nothing_there,
          "nothing listens at #{seed}",
          "start the node, or correct seeds:, or the port of fabric:, which is the same on every node"
        )

      {:error, _reason} ->
        blocked(seed)
    end
  end

  defp blocked(seed) do
    error(
      :seed,
      :unreachable,
      "#{seed} cannot be reached",
      "see that its host runs, and that TCP and UDP pass the firewalls in between"
    )
  end

  defp parse(seed) do
    with [_, host, port] <- Regex.run(~r/\A\[?(.+?)\]?:(\d+)\z/, seed),
         {:ok, address} <- Net.address(host),
         do: {:ok, address, String.to_integer(port)},
         else: (_ -> {:error, :nxdomain})
  end

  # -- a cluster that this node is not in ----------------------------------------------------------------------------

  defp absent(cluster, nil, _expected) do
    if Drain.noted(cluster, node()), do: [drained(cluster)], else: []
  end

  defp absent(cluster, entry, expected) do
    cond do
      Drain.noted(cluster, node()) -> [drained(cluster)]
      not joins?(entry) -> [by_gateway(cluster)]
      true -> configured(cluster, entry, expected)
    end
  end

  defp joins?(entry), do: Keyword.keyword?(entry) and Foundation.Cluster.Federation.Options.joins?(entry)

  defp by_gateway(cluster) do
    warning(
      :config,
      :no_member,
      "this node calls #{cluster} through its gateways, and is no member of it",
      "give its entry secret:, and strategy: or seeds:, to join it"
    )
  end

  defp configured(cluster, entry, expected) do
    case Options.read(cluster, named(entry)) do
      {:ok, %{topologies: topologies, seeds: seeds, port: port}} ->
        sources = Sources.ask(topologies)
        found = for node <- Sources.nodes(sources), port > 0, do: "#{Net.host(node)}:#{port}"

        [not_running(cluster)] ++
          strategies(cluster, sources, seeds) ++
          Enum.map(expected, &missing(cluster, &1)) ++ at(Enum.uniq(seeds ++ found), transport(cluster))

      {:error, problem} ->
        [
          error(
            :config,
            :invalid_config,
            Config.message(problem),
            "correct it; the application does not start until then"
          )
        ]
    end
  end

  # Who asks from a shell may have no name.
  defp named(entry) do
    if Node.alive?(),
      do: entry,
      else: Keyword.update(entry, :fabric, [name: :doctor], &Keyword.put_new(&1, :name, :doctor))
  end

  defp not_running(cluster) do
    warning(
      :fabric,
      :not_running,
      "#{cluster} is configured, and this node has not joined it",
      "start the application; or ask a running node: mix foundation.doctor --on NODE --cluster #{cluster}"
    )
  end

  # From outside only whether something is there can be seen.
  defp at(addresses, transport) do
    for finding <- addresses(addresses, transport) do
      if finding.cause == :no_member and transport == :tls,
        do: ok(:seed, String.replace(finding.says, ", and what listens there does not become a member", "")),
        else: finding
    end
  end
end
