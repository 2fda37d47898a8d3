defmodule Foundation.Cluster.Doctor do
  @moduledoc """
  Finds out why nodes do not come together, and says in plain words what to change.

      {:problems, findings} = Foundation.Cluster.doctor()
      IO.puts(Foundation.Cluster.Doctor.format(findings))

  `mix foundation.doctor` does the same from a shell. Looked at are, in this order: the configuration; this node's name,
  host, cookie, epmd, ports, network interfaces and multicast; each strategy and whom it asks; each node that was found and is not
  connected, along the way that a connection goes (name, address, epmd, port, handshake, cookie); and the connected
  nodes' versions, clocks, tick times and views of the cluster. `guides/doctor.md` lists every finding.

  Of a cluster that this node has joined besides its main one it looks at the configuration, the fabric, the strategies, the
  addresses where somebody should be, links that were refused, and what the overlay knows of the members.

  Nothing is changed but that a node which could be connected, and was not, is. The checks of other nodes complete Erlang's
  handshake under a name of their own, which that node sees as a hidden node that comes and goes.

  **Scheduling**: with the mDNS strategy configured and not running, it listens for 2 s by a native session, on dirty IO
  schedulers; a joined cluster's fabric is asked on dirty CPU schedulers; nothing else here calls the native library.
  """

  alias Foundation.Cluster.{Config, Elsewhere, Environment, Table}
  alias Foundation.Cluster.Doctor.{Finding, Host, Members, Own, Peers, Sources}
  alias Foundation.Cluster.Strategy.Auto

  @type finding :: Finding.t()
  @type result :: {:ok | :problems, [finding]}

  @doc """
  Looks at everything, for at most about a minute; a healthy cluster takes less than a second.

  Options: `nodes:` nodes that should be in the cluster, beside those that strategies find; `cluster:` the name of one that
  this node has joined or that `config :foundation, clusters:` names, or a configuration to look at instead of the running or
  configured one; `connect:` whether to connect a node that could be (`true`).

  `{:ok, findings}` when no finding is an error, else `{:problems, findings}`. A finding is
  `%{check: atom, cause: atom, status: :ok | :warning | :error, says: text, change: text | nil}`.
  """
  @spec run(keyword) :: result
  def run(opts \\ []) do
    nodes = Keyword.get(opts, :nodes, [])

    unless is_list(nodes) and Enum.all?(nodes, &is_atom/1),
      do: raise(ArgumentError, "nodes is #{inspect(nodes)}, and a list of node names was expected")

    # For the strategies that ask over HTTP, when the application itself is not started.
    {:ok, _} = Application.ensure_all_started(:inets)
    {:ok, _} = Application.ensure_all_started(:ssl)

    case of(opts) do
      :main -> main(nodes, Keyword.delete(opts, :cluster))
      {:joined, cluster} -> judge(Elsewhere.ask(:doctor, [cluster, nodes], []))
      :spec -> main(nodes, opts)
    end
  end

  # A name goes before a strategy that is called the same.
  defp of(opts) do
    case Keyword.fetch(opts, :cluster) do
      {:ok, name} when is_atom(name) and name not in [nil, true, false] ->
        cond do
          Elsewhere.ask(:main?, [name], false) -> :main
          Elsewhere.ask(:knows?, [name], false) -> {:joined, name}
          true -> :spec
        end

      _ ->
        :spec
    end
  end

  defp main(nodes, opts) do
    {configured, topologies, running} = configuration(opts)
    sources = if running, do: Sources.reported(topologies), else: Sources.ask(topologies)

    context = %{
      topologies: topologies,
      wanted: Enum.uniq(nodes ++ Sources.nodes(sources)),
      ask: if(Keyword.get(opts, :connect, true) and Node.alive?(), do: :connect, else: :look)
    }

    findings =
      configured ++
        Own.findings() ++
        Host.findings(context) ++
        Sources.findings(sources) ++ Peers.findings(context) ++ Members.findings(context)

    judge(findings)
  end

  defp judge(findings),
    do: {if(Enum.any?(findings, &(&1.status == :error)), do: :problems, else: :ok), findings}

  @doc "The findings as lines of text, the worst first; those in order as one line each when `verbose`."
  @spec format([finding], keyword) :: String.t()
  def format(findings, opts \\ []) do
    by_status = Enum.group_by(findings, & &1.status)
    problems = Map.get(by_status, :error, []) ++ Map.get(by_status, :warning, [])
    fine = Map.get(by_status, :ok, [])
    shown = problems ++ if(Keyword.get(opts, :verbose, false), do: fine, else: [])

    Enum.map_join(shown, &lines/1) <> summary(by_status)
  end

  defp lines(%{status: :ok} = finding), do: "ok       #{finding.check}: #{finding.says}\n"

  defp lines(finding) do
    word = if finding.status == :error, do: "WRONG  ", else: "doubtful"
    "#{String.pad_trailing(word, 8)} #{finding.check}: #{finding.says}\n         → #{finding.change}\n"
  end

  defp summary(by_status) do
    [errors, warnings, fine] =
      for status <- [:error, :warning, :ok], do: length(Map.get(by_status, status, []))

    "#{errors} wrong, #{warnings} doubtful, #{fine} in order\n"
  end

  # -- configuration -----------------------------------------------------------------------------------------------

  # {what is wrong with it, the strategies, whether they run}
  defp configuration(opts) do
    case {Keyword.fetch(opts, :cluster), Table.exists?()} do
      {:error, true} -> {[], running(), true}
      {:error, false} -> read(Config.from_environment())
      {{:ok, spec}, _} -> read(Config.read(spec, []))
    end
  end

  # Those that Auto has started are there beside it.
  defp running do
    for {name, %{module: module}} <- Table.all(:strategy),
        module != Auto,
        do: Config.topology(name, module, [])
  end

  defp read(:none), do: {[], [], false}
  defp read({:ok, %{topologies: topologies}}), do: {[], expanded(topologies), false}

  defp read({:error, problem}) do
    {[
       Finding.error(
         :config,
         :invalid_config,
         Config.message(problem),
         "correct it; nothing of the cluster is started until then"
       )
     ], [], false}
  end

  # Auto stands for strategies that depend on where the node runs.
  defp expanded(topologies) do
    Enum.flat_map(topologies, fn
      %{module: Auto} -> Environment.detect().topologies
      topology -> [topology]
    end)
  end
end
