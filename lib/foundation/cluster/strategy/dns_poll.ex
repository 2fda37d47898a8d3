defmodule Foundation.Cluster.Strategy.DNSPoll do
  @moduledoc """
  Connects to the nodes whose addresses, or names, a DNS name stands for.

      config :foundation, cluster: {:dns, query: "my-app.internal", node_basename: "my_app"}

  Every node is called `node_basename@address` (`A` and `AAAA` records), or `node_basename@host` (`SRV` records).

  Options:

    * `query`: the name to ask for; needed. Without a dot at its end the search domains of the system are tried too
    * `node_basename`: the name of the nodes before the `@`; that of this node unless given
    * `record`: `:a`, `:aaaa`, `:srv`, or a list of them (`[:a, :aaaa]`)
    * `polling_interval`: ms between two rounds (5,000)
    * `nameservers`: `[{ip, port}]` to ask instead of the system's
    * `timeout`, `retries`: ms for an answer (3,000) and further tries (2)
    * `search`: search domains instead of the system's
    * `resolver`: a function that takes the query and gives addresses, as in libcluster, instead of all this

  A name that does not exist (`:nxdomain`), a name server that fails (`:servfail`), refuses (`:refused`) or does not answer
  (`:timeout`) is an error: the nodes are kept, and the error is in the strategy's report. When one of several kinds of
  records fails, its last known nodes are kept and the others are followed. A name that exists without such records
  stands for no nodes.
  """

  use Foundation.Cluster.Strategy.Poll

  alias Foundation.Cluster.Strategy.{Names, Options, Resolver}

  @kinds [:a, :aaaa, :srv]

  @impl true
  def discover(%{config: config} = state) do
    with {:ok, query} <- Options.text(config, :query),
         {:ok, base} <- Options.basename(config, :node_basename) do
      case config[:resolver] do
        nil -> by_kind(state, query, base, kinds(config))
        resolver -> Names.nodes(base, resolver.(query))
      end
    end
  end

  defp kinds(config) do
    kinds = config |> Keyword.get(:record, [:a, :aaaa]) |> List.wrap()
    if kinds != [] and kinds -- @kinds == [], do: kinds, else: raise(ArgumentError, invalid(kinds))
  end

  defp invalid(kinds), do: "record: #{inspect(kinds)} is not one or more of #{inspect(@kinds)}"

  # Each kind for itself, those that fail with what they last gave.
  defp by_kind(%{config: config, meta: meta} = state, query, base, kinds) do
    answers = for kind <- kinds, do: {kind, nodes(query, kind, base, config)}
    known = Map.merge(meta || %{}, for({kind, {:ok, nodes}} <- answers, into: %{}, do: {kind, nodes}))
    state = %{state | meta: known}

    case Enum.split_with(answers, &match?({_, {:ok, _}}, &1)) do
      {[], [{_, error} | _]} -> Tuple.insert_at(error, tuple_size(error), state)
      {_, _} -> {:ok, known |> Map.take(kinds) |> Map.values() |> Enum.concat() |> Enum.uniq(), state}
    end
  end

  defp nodes(query, kind, base, config) do
    case Resolver.lookup(query, kind, config) do
      {:ok, found} -> Names.nodes(base, Enum.map(found, &host/1))
      {:error, reason} -> {:error, {:dns, query, reason}}
    end
  end

  defp host({_priority, _weight, _port, host}) when is_list(host), do: host
  defp host(address), do: address
end
