defmodule Foundation.Distributed.Discovery.Directory do
  @moduledoc false
  # The tables of one cluster's services: what is registered, and for each service and capability the pool of providers
  # that may be called, made ready so that a caller picks one with two look-ups.
  #
  # Services: {{service, pid}, found, id}. Pools, a table beside it:
  #
  #   {id, pid, load, weight, service}           a provider; ids are never used again
  #   {{:pool, selection}, ids, turn, count}     ids of those that are up, a tuple, or :stale; how many are registered
  #   {{:weights, selection}, shares, others}    for picking by weight; absent when all weigh the same
  #   {{:near, selection}, here, zone}           ids of this node, and of its zone
  #   {{:loads, selection}, loads, weights}      of each id of the pool, for who looks at all
  #
  # A selection is {:service, name} or {:capability, name}. A pool that is stale is read from the services until the owner
  # has made it anew, which it does once for all changes that wait in its mailbox.

  alias Foundation.Distributed.Discovery
  alias Foundation.Distributed.Discovery.{Load, Weights}
  alias Foundation.Distributed.Fabric.Scope

  defstruct [:services, :pools, :own, members: %{}, stale: MapSet.new()]

  @type t :: %__MODULE__{}
  @type selection :: {:service | :capability, term}
  @type provider :: {pos_integer, pid, Load.t(), pos_integer, term}

  @doc "Empty tables, owned by the caller."
  @spec new(Scope.t()) :: t
  def new(scope) do
    options = [:named_table, :protected, read_concurrency: true]

    %__MODULE__{
      services: :ets.new(Scope.process(scope, Discovery), [:ordered_set | options]),
      pools: :ets.new(pools(scope), [:set | options]),
      own: own(scope)
    }
  end

  @doc "The name of the table of pools."
  @spec pools(Scope.t()) :: atom
  def pools(nil), do: Discovery.Pools
  def pools(scope), do: Scope.process(scope, Discovery.Pools)

  @doc "The name of the table of what this node has registered: {{service, pid}, found}. Not the owner's: it outlives it."
  @spec own(Scope.t()) :: atom
  def own(scope), do: Scope.process(scope, Discovery.Own)

  # -- the owner

  @doc "Enters a provider, or changes it: what that is to others."
  @spec put(t, map) :: {:up | :changed | :same, t}
  def put(directory, found) do
    key = {found.service, found.pid}
    if found.node == node(), do: :ets.insert(directory.own, {key, found})

    case :ets.lookup(directory.services, key) do
      [{_, ^found, _id}] ->
        {:same, directory}

      [{_, before, id}] ->
        :ets.insert(directory.services, {key, found, id})
        :ets.update_element(directory.pools, id, {4, found.weight})
        {:changed, directory |> leave(before, id) |> join(found, id)}

      [] ->
        id = System.unique_integer([:positive])
        :ets.insert(directory.pools, {id, found.pid, Load.new(), found.weight, found.service})
        :ets.insert(directory.services, {key, found, id})
        {:up, join(directory, found, id)}
    end
  end

  @doc "Removes a provider; nil when there is none."
  @spec delete(t, {term, pid}) :: {map | nil, t}
  def delete(directory, key) do
    :ets.delete(directory.own, key)

    case :ets.take(directory.services, key) do
      [{_, found, id}] ->
        directory = leave(directory, found, id)
        :ets.delete(directory.pools, id)
        {found, directory}

      [] ->
        {nil, directory}
    end
  end

  @doc "The providers of a node."
  @spec of_node(t, node) :: [map]
  def of_node(directory, node),
    do: for([found] <- :ets.match(directory.services, {:_, :"$1", :_}), found.node == node, do: found)

  @doc "The nodes of providers."
  @spec nodes(t) :: [node]
  def nodes(directory) do
    directory.services |> :ets.select([{{{:_, :"$1"}, :_, :_}, [], [{:node, :"$1"}]}]) |> Enum.uniq()
  end

  @doc "The services that a process provides."
  @spec of_pid(t, pid) :: [{term, pid}]
  def of_pid(directory, pid),
    do: for([service] <- :ets.match(directory.services, {{:"$1", pid}, :_, :_}), do: {service, pid})

  defp selections(found),
    do: [{:service, found.service} | for(c <- Enum.uniq(found.capabilities), do: {:capability, c})]

  defp join(directory, found, id) do
    Enum.reduce(selections(found), directory, fn selection, directory ->
      members = Map.update(directory.members, selection, %{id => found}, &Map.put(&1, id, found))
      stale(%{directory | members: members}, selection)
    end)
  end

  defp leave(directory, found, id) do
    Enum.reduce(selections(found), directory, fn selection, directory ->
      {_, members} = Map.get_and_update(directory.members, selection, &left(&1, id))
      stale(%{directory | members: members}, selection)
    end)
  end

  defp left(members, id) do
    rest = Map.delete(members, id)
    if rest == %{}, do: :pop, else: {members, rest}
  end

  defp stale(directory, selection) do
    unless :ets.update_element(directory.pools, {:pool, selection}, {2, :stale}),
      do: :ets.insert(directory.pools, {{:pool, selection}, :stale, :atomics.new(1, signed: false), 0})

    %{directory | stale: MapSet.put(directory.stale, selection)}
  end

  @doc "Makes the stale pools anew. O(their providers)."
  @spec renew(t) :: t
  def renew(directory) do
    for selection <- directory.stale, do: renew(directory, selection, directory.members[selection])
    %{directory | stale: MapSet.new()}
  end

  defp renew(%{pools: pools}, selection, nil),
    do: for(kind <- [:pool, :weights, :near, :loads], do: :ets.delete(pools, {kind, selection}))

  defp renew(%{pools: pools}, selection, members) do
    up = for {id, %{status: :up} = found} <- Enum.sort(members), do: {id, found}
    {here, others} = Enum.split_with(up, fn {_, found} -> found.node == node() end)
    zone = Discovery.zone()
    near = if zone == nil, do: [], else: Enum.filter(others, fn {_, found} -> found.zone == zone end)
    :ets.insert(pools, {{:near, selection}, ids(here), ids(here ++ near)})

    loads = for {id, _} <- up, do: :ets.lookup_element(pools, id, 3)
    weights = for {_, found} <- up, do: found.weight
    :ets.insert(pools, {{:loads, selection}, List.to_tuple(loads), List.to_tuple(weights)})

    case Weights.new(weights) do
      nil -> :ets.delete(pools, {:weights, selection})
      {shares, others} -> :ets.insert(pools, {{:weights, selection}, shares, others})
    end

    # Last, since it is read first.
    :ets.update_element(pools, {:pool, selection}, [{2, ids(up)}, {4, map_size(members)}])
  end

  defp ids(providers), do: providers |> Enum.map(&elem(&1, 0)) |> List.to_tuple()

  # -- callers

  @doc "The ids that may be called, whose turn it is, and how many are registered; nil when none is. O(providers), copied."
  @spec pool(Scope.t(), selection) :: {tuple, :atomics.atomics_ref(), non_neg_integer} | nil | :not_running
  def pool(scope, selection) do
    case :ets.lookup(pools(scope), {:pool, selection}) do
      [{_, ids, turn, count}] when is_tuple(ids) -> {ids, turn, count}
      [{_, :stale, turn, _}] -> read(scope, selection, turn)
      [] -> nil
    end
  rescue
    ArgumentError -> :not_running
  end

  # In the order of the pool that is being made, so that who goes round it misses nobody when that one comes.
  defp read(scope, selection, turn) do
    case members(scope, selection) do
      [] -> nil
      members -> {ids(Enum.sort(for {id, %{status: :up}} <- members, do: {id, nil})), turn, length(members)}
    end
  end

  defp members(scope, {:service, service}),
    do: for({_, found, id} <- rows(Scope.process(scope, Discovery), service), do: {id, found})

  defp members(scope, {:capability, capability}) do
    for {_, found, id} <- :ets.tab2list(Scope.process(scope, Discovery)),
        capability in found.capabilities,
        do: {id, found}
  end

  @doc "The rows of a service. O(log services known) for a name that is an atom, a binary or an integer."
  @spec rows(atom, term) :: [{{term, pid}, map, pos_integer}]
  def rows(table, service) when is_binary(service) or is_integer(service),
    do: :ets.match_object(table, {{service, :_}, :_, :_})

  # Atoms such as :_ and :"$1", in a tuple too, would be taken for more than themselves.
  def rows(table, service) do
    if is_atom(service) and service != :_ and not match?("$" <> _, Atom.to_string(service)),
      do: :ets.match_object(table, {{service, :_}, :_, :_}),
      else: :ets.select(table, [{{{:"$1", :_}, :_, :_}, [{:"=:=", :"$1", {:const, service}}], [:"$_"]}])
  end

  @doc "The ids of this node, and of its zone (those of this node included)."
  @spec near(Scope.t(), selection) :: {tuple, tuple}
  def near(scope, selection) do
    case :ets.lookup(pools(scope), {:near, selection}) do
      [{_, here, zone}] -> {here, zone}
      [] -> {{}, {}}
    end
  end

  @doc "For picking by weight, of as many as the ids of the pool; nil when all weigh the same."
  @spec weights(Scope.t(), selection) :: Weights.t() | nil
  def weights(scope, selection) do
    case :ets.lookup(pools(scope), {:weights, selection}) do
      [{_, shares, others}] -> {shares, others}
      [] -> nil
    end
  end

  @doc "The loads and weights of the pool, in the order of its ids. O(providers), copied."
  @spec loads(Scope.t(), selection) :: {tuple, tuple}
  def loads(scope, selection) do
    case :ets.lookup(pools(scope), {:loads, selection}) do
      [{_, loads, weights}] -> {loads, weights}
      [] -> {{}, {}}
    end
  end

  @doc "Whether anybody is registered. O(1)."
  @spec known?(Scope.t(), selection) :: boolean
  def known?(scope, selection) do
    :ets.member(pools(scope), {:pool, selection})
  rescue
    ArgumentError -> false
  end

  @doc "A provider by its id; nil when it has gone."
  @spec provider(Scope.t(), pos_integer) :: provider | nil
  def provider(scope, id) do
    case :ets.lookup(pools(scope), id) do
      [provider] -> provider
      [] -> nil
    end
  end

  @doc "Every provider of a selection, with what is registered of it. O(services known)."
  @spec providers(Scope.t(), selection) :: [{provider, map}]
  def providers(scope, selection) do
    for {id, found} <- members(scope, selection), provider = provider(scope, id), do: {provider, found}
  rescue
    ArgumentError -> []
  end

  @doc "What is registered of a provider; nil when it has gone."
  @spec found(Scope.t(), provider) :: map | nil
  def found(scope, {_id, pid, _load, _weight, service}) do
    case :ets.lookup(Scope.process(scope, Discovery), {service, pid}) do
      [{_, found, _id}] -> found
      [] -> nil
    end
  end
end
