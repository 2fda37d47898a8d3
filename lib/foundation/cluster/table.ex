defmodule Foundation.Cluster.Table do
  @moduledoc false
  # What the cluster's processes share: one ordered ETS table, owned by the cluster's supervisor, so that a process which
  # restarts finds it as it was.
  #
  #   {:report, topology}      the last answer of a strategy
  #   {:claim, node, topology} the strategy wants the node in the cluster
  #   {:member, node}          what membership knows of a node
  #   {:draining, node}        the node is being emptied
  #   {:subscriber, pid}       who hears of membership, and of which events
  #   {:strategy, topology}    its module, and whether it runs
  #   {:waiting, node}         a connection failed and will be tried again
  #   {:given_up, node}        the node has been asked to leave, for that strategy
  #   {:parted, node}          the node said goodbye, and is left alone a while
  #   :config, :boot           what the cluster was started with; when, in us
  #   :seq                     the number of the last membership event
  #
  # The strategies of clusters that this node is in besides the main one write their rows into a second table, which
  # exists while there are such clusters, so that membership does not count what they find.

  @name :foundation_cluster
  @others :foundation_clusters

  @doc "Makes the table; the caller owns it."
  @spec create() :: :ok
  def create do
    @name = :ets.new(@name, [:named_table, :public, :ordered_set, read_concurrency: true])
    :ok
  end

  @doc "Makes the table of the other clusters; the caller owns it."
  @spec create_others() :: :ok
  def create_others do
    @others = :ets.new(@others, [:named_table, :public, :ordered_set, read_concurrency: true])
    :ok
  end

  @doc "Says that a strategy's rows belong to another cluster than the main one, or no more."
  @spec set_apart(atom, boolean) :: boolean
  def set_apart(topology, true), do: :ets.insert(@others, {{:topology, topology}, true})
  def set_apart(topology, false), do: :ets.delete(@others, {:topology, topology})

  @doc "The strategies that belong to other clusters than the main one."
  @spec set_apart() :: [atom]
  def set_apart do
    for [topology] <- :ets.match(@others, {{:topology, :"$1"}, true}), do: topology
  rescue
    ArgumentError -> []
  end

  # Which table a row is in.
  defp table({kind, topology}) when kind in [:report, :strategy, :strangers] do
    if :ets.whereis(@others) != :undefined and :ets.member(@others, {:topology, topology}),
      do: @others,
      else: @name
  end

  defp table(_key), do: @name

  @doc "Whether the cluster runs, by its table."
  @spec exists?() :: boolean
  def exists?, do: :ets.whereis(@name) != :undefined

  @doc "The value of a key, or `default`, also when there is no table. O(log n)."
  @spec get(term, term) :: term
  def get(key, default \\ nil) do
    case :ets.lookup(table(key), key) do
      [{_, value}] -> value
      [] -> default
    end
  rescue
    ArgumentError -> default
  end

  @doc "Sets a key; `false` when there is no table."
  @spec put(term, term) :: boolean
  def put(key, value) do
    :ets.insert(table(key), {key, value})
  rescue
    ArgumentError -> false
  end

  @spec delete(term) :: boolean
  def delete(key) do
    :ets.delete(table(key), key)
  rescue
    ArgumentError -> false
  end

  @doc "All `{key part, value}` under a two-part key, in order of that part."
  @spec all(atom) :: [{term, term}]
  def all(kind), do: select([{{{kind, :"$1"}, :"$2"}, [], [{{:"$1", :"$2"}}]}])

  @doc "The next number of the row of membership events."
  @spec next_seq() :: pos_integer
  def next_seq, do: :ets.update_counter(@name, :seq, 1, {:seq, 0})

  @doc "Notes that a strategy wants the node; O(log n)."
  @spec claim(node, atom) :: boolean
  def claim(node, topology), do: put({:claim, node, topology}, true)

  @spec release(node, atom) :: boolean
  def release(node, topology), do: delete({:claim, node, topology})

  @doc "Takes back what a strategy wanted."
  @spec release_all(atom) :: :ok
  def release_all(topology) do
    :ets.match_delete(@name, {{:claim, :_, topology}, :_})
    :ok
  rescue
    ArgumentError -> :ok
  end

  @doc "The strategies that want the node."
  @spec claims(node) :: [atom]
  def claims(node), do: select([{{{:claim, node, :"$1"}, :_}, [], [:"$1"]}])

  @doc "The nodes that some strategy wants."
  @spec claimed() :: [node]
  def claimed, do: [{{{:claim, :"$1", :_}, :_}, [], [:"$1"]}] |> select() |> Enum.dedup()

  @doc "The nodes that one strategy wants."
  @spec claimed(atom) :: [node]
  def claimed(topology), do: select([{{{:claim, :"$1", topology}, :_}, [], [:"$1"]}])

  defp select(spec) do
    :ets.select(@name, spec)
  rescue
    ArgumentError -> []
  end
end
