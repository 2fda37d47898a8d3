defmodule Foundation.Cluster.Doctor.Sources do
  @moduledoc false
  # Whom the strategies find, and why they do not: by their last report when a cluster runs, else by asking now what they
  # would ask.

  import Foundation.Cluster.Doctor.Finding

  alias Foundation.Cluster.Doctor.{Explain, Net}
  alias Foundation.Cluster.{Keeper, Strategy}
  alias Foundation.Cluster.Strategy.Mdns

  @ask_ms 20_000
  @look_ms 2_000

  @type answer :: {:ok, [node]} | {:error, term} | :unknown
  @type source :: %{topology: map, answer: answer, strangers: [{String.t(), String.t()}]}

  @doc "What each running strategy reported last."
  @spec reported([map]) :: [source]
  def reported(topologies) do
    reports = Strategy.reports()

    for topology <- topologies,
        do: %{topology: topology, answer: answer_of(reports[topology.name]), strangers: strangers(topology)}
  end

  @doc "What each strategy would find, asked side by side, at most 20 s."
  @spec ask([map]) :: [source]
  def ask(topologies) do
    topologies
    |> Task.async_stream(&fresh/1, timeout: @ask_ms, on_timeout: :kill_task)
    |> Enum.zip(topologies)
    |> Enum.map(fn
      {{:ok, {answer, strangers}}, topology} -> %{topology: topology, answer: answer, strangers: strangers}
      {{:exit, _}, topology} -> %{topology: topology, answer: {:error, :timeout}, strangers: []}
    end)
  end

  @doc "The nodes that some strategy found."
  @spec nodes([source]) :: [node]
  def nodes(sources), do: for(%{answer: {:ok, nodes}} <- sources, node <- nodes, uniq: true, do: node)

  @spec findings([source]) :: [Foundation.Cluster.Doctor.Finding.t()]
  def findings([]) do
    [
      warning(
        :strategy,
        :no_strategy,
        "no cluster is configured: nodes are connected by hand only",
        "config :foundation, cluster: true, or Foundation.Cluster.start()"
      )
    ]
  end

  def findings(sources), do: Enum.flat_map(sources, &found/1)

  # -- asking ------------------------------------------------------------------------------------------------------

  defp answer_of(nil), do: :unknown
  defp answer_of(%{error: nil, nodes: nodes}), do: {:ok, nodes}
  defp answer_of(%{error: reason}), do: {:error, reason}

  defp strangers(%{name: name, module: Mdns}), do: Mdns.strangers(name)
  defp strangers(_topology), do: []

  defp fresh(%{module: Mdns, config: config}) do
    case Mdns.look(config, @look_ms) do
      {:ok, nodes, strangers} -> {{:ok, nodes}, strangers}
      {:error, reason} -> {{:error, reason}, []}
    end
  end

  defp fresh(%{module: module} = topology) do
    if Code.ensure_loaded?(module) and function_exported?(module, :discover, 1),
      do: {topology |> Keeper.initial_state() |> module.discover() |> answer(), []},
      else: {:unknown, []}
  rescue
    error -> {{:error, {:raised, error.__struct__, Exception.message(error)}}, []}
  end

  defp answer(tuple) when is_tuple(tuple), do: {elem(tuple, 0), elem(tuple, 1)}

  # -- telling -----------------------------------------------------------------------------------------------------

  defp found(%{topology: topology, answer: answer, strangers: strangers}),
    do: [told(topology, answer) | Enum.map(strangers, &stranger/1)]

  defp told(%{name: name, module: module}, :unknown),
    do: ok(:strategy, "#{name} (#{inspect(module)}) has not said yet what it finds")

  defp told(%{name: name}, {:error, reason}) do
    {cause, says, change} = Explain.error(reason)
    error(:strategy, cause, "#{name}: #{says}", change)
  end

  defp told(%{name: name, module: module}, {:ok, nodes}) do
    others = nodes -- [node()]

    cond do
      others == [] ->
        warning(:strategy, :nobody, "#{name} works and finds no other node", nobody(module))

      lists_self?(module) and Node.alive?() and node() not in nodes and own_basename?(nodes) ->
        warning(
          :strategy,
          :not_listed,
          "#{name} finds #{length(others)} nodes, and this one, #{node()}, is not among them: others will not find it",
          "see that this node's name has the form of those found (#{hd(others)}), and that it is ready and registered"
        )

      true ->
        ok(
          :strategy,
          "#{name} finds #{length(others)} other #{if length(others) == 1, do: "node", else: "nodes"}"
        )
    end
  end

  # Sources that list everyone, the one who asks included.
  defp lists_self?(module) do
    module in [
      Strategy.DNSPoll,
      Strategy.Kubernetes,
      Strategy.Kubernetes.DNS,
      Strategy.Kubernetes.DNSSRV,
      Strategy.Consul,
      Strategy.Ecs,
      Strategy.Rancher
    ]
  end

  defp own_basename?(nodes), do: Enum.any?(nodes, &(Net.basename(&1) == Net.basename(node())))

  defp nobody(Mdns), do: "start others on this network, with the same cookie and the same cluster name"

  defp nobody(Strategy.Kubernetes),
    do:
      "see that the selector fits the service's labels, and that pods are ready: kubectl get endpoints -l SELECTOR"

  defp nobody(module) when module in [Strategy.DNSPoll, Strategy.Kubernetes.DNS, Strategy.Kubernetes.DNSSRV],
    do: "see what the name stands for: dig NAME; a headless service lists ready pods only"

  defp nobody(Strategy.Consul),
    do: "see that instances are registered and their checks pass: consul catalog nodes -service NAME"

  defp nobody(Strategy.Ecs),
    do: "see that the service wants more than one task: aws ecs describe-services --cluster C --services S"

  defp nobody(_module), do: "start others, or correct what the strategy is to look for"

  defp stranger({name, cluster}) do
    error(
      :strategy,
      :stranger,
      "#{name} announces itself on this network for the cluster #{inspect(cluster)} with another cookie",
      "if it belongs here, start it with this node's cookie; if not, give one of the two clusters another name (mdns, cluster:)"
    )
  end
end
