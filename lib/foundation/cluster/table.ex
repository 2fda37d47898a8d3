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
  #   {:on_drain, name}        what a drain waits for
  #   :config, :boot           what the cluster was started with; when, in us
  #   :seq                     the number of the last membership event

  @name :foundation_cluster

  @doc "Makes the table; the caller owns it."
  @spec create() :: :ok
  def create do
    @name = :ets.new(@name, [:named_table, :public, :ordered_set, read_concurrency: true])
    :ok
  end

  @doc "Whether the cluster runs, by its table."
  @spec exists?() :: boolean
  def exists?, do: :ets.whereis(@name) != :undefined

  @doc "The value of a key, or `default`, also when there is no table. O(log n)."
  @spec get(term, term) :: term
  def get(key, default \\ nil) do
    case :ets.lookup(@name, key) do
      [{_, value}] -> value
      [] -> default
    end
  rescue
    ArgumentError -> default
  end

  @doc "Sets a key; `false` when there is no table."
  @spec put(term, term) :: boolean
  def put(key, value) do
    :ets.insert(@name, {key, value})
  rescue
    ArgumentError -> false
  end

  @spec delete(term) :: boolean
  def delete(key) do
    :ets.delete(@name, key)
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
