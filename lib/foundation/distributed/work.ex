defmodule Foundation.Distributed.Work do
  @moduledoc """
  Spreads items of work over the nodes of the cluster, and gives each result once.

      iex> {:ok, run} = Foundation.Distributed.Work.run(1..4, fn x -> x * x end)
      iex> run.results
      [ok: 1, ok: 4, ok: 9, ok: 16]

  Every node gets an equal share at first. One that has finished its own takes over half of what the node with the
  most left has not begun (work stealing, Blumofe and Leiserson 1999; here the coordinator asks the victim, so that it
  always knows who has what). A node that dies, or that is cut off, loses what it has not answered to the others; a node that joins
  gets its part. An item may so be begun twice, on a node that died and on another; its result is taken once.

  What runs on the nodes is a function of one argument, or `{module, function, arguments}` to which the item is put
  first. Functions must be of a module that the nodes have.

  The calls go over the Erlang distribution, in a joined cluster over its fabric. The coordinator is a process of the caller's node and ends with the caller; the
  runners end with the coordinator. O(items) messages, each with its item or result.

  ## Jobs

  With `job: name` the results are recorded in the coordination group as they come, so that the run outlives its coordinator:

      {:ok, run} = Work.run(invoices, {MyApp.Billing, :send, []}, job: {:billing, :november})

  Whoever calls it with the same name and items, on any node, takes part in the same job: one of them coordinates, the others
  wait. When that one ends, its node dies or is cut off from the majority, the next goes on with what is not recorded yet (as
  soon as the session of the lost node has ended, see `Foundation.Distributed.Coordination`), and all get the same results. A
  job that is done answers what it has come to, until `forget/2`.

  Each item has one result, ever: a coordinator that was presumed dead and goes on finds that it was superseded, and what it
  has not recorded does not count. What an item does besides giving a result may be done twice, as ever when nodes die.
  Recording costs a round to a majority for each `checkpoint_every:` results, or each 50 ms.

  ## In a joined cluster

      {:ok, run} = Work.run(texts, {Model, :infer, []}, cluster: :ai)

  With `cluster:` the work is spread over the nodes of a cluster that this node has joined (see
  `Foundation.Distributed.Clusters`), by its fabric alone. What is asked of its nodes is what they allow this one to call,
  as by `Foundation.Cluster.send_to_cluster/3`: the worker is a `{module, function, arguments}` that their `allow:` has
  (one argument more than are given, for the item), items and results are plain data, and a call takes an hour at most. A
  node that does not allow it takes no part, and stands among `lost_nodes`. This node takes part too, for itself without
  being allowed to. The result of an item that failed on another node is `{:error, {:exit, :failed}}`, why is in that
  node's log; `{:error, :not_plain}` and `{:error, :too_large}` tell of items and results that cannot be sent,
  `{:error, :malformed}` of an item with an atom that is not known there. A job is
  recorded in the main cluster's group.

  **Scheduling**: as `Foundation.Distributed.Consensus` for jobs, as `Foundation.Distributed.Channels` in a joined cluster;
  nothing else here calls the native library.
  """

  alias Foundation.Distributed.Consensus
  alias Foundation.Distributed.Context
  alias Foundation.Distributed.Fabric
  alias Foundation.Distributed.Fabric.Scope
  alias Foundation.Distributed.Work.{Checkpoint, Coordinator}

  @type worker :: (term -> term) | {module, atom, [term]}
  @type reducer :: (term, [term] -> term) | {module, atom, [term]}
  @type result :: {:ok, term} | {:error, term}
  @type run :: %{
          results: [result],
          nodes: %{node => non_neg_integer},
          stolen: non_neg_integer,
          reassigned: non_neg_integer,
          recovered: non_neg_integer,
          lost_nodes: [{node, term}]
        }

  @type option ::
          {:nodes, :all | [node]}
          | {:cluster, atom}
          | {:concurrency, pos_integer}
          | {:item_timeout, timeout}
          | {:timeout, timeout}
          | {:attempts, pos_integer}
          | {:on_result, (non_neg_integer, result -> term)}
          | {:job, term}
          | {:group, Consensus.group()}
          | {:checkpoint_every, pos_integer}

  @options [
    :nodes,
    :cluster,
    :concurrency,
    :item_timeout,
    :timeout,
    :attempts,
    :on_result,
    :job,
    :group,
    :checkpoint_every
  ]

  @doc """
  Runs `worker` on every item and answers the results in the order of the items.

  Options:

    * `nodes:` where to work: a list, or `:all` (this node and every visible one, also those that join meanwhile; draining
      nodes get nothing);
    * `cluster:` one that this node has joined, instead of the main one (see above);
    * `concurrency:` items at a time on a node (its schedulers);
    * `item_timeout:` milliseconds for one item (`:infinity`); then it is ended: `{:error, :timeout}`;
    * `timeout:` milliseconds for all of it (`:infinity`);
    * `attempts:` how often an item is begun at most when nodes die under it (3); then `{:error, :node_down}`;
    * `on_result:` called with the number of the item, from 0, and its result, once for each, in the order they
      come, in the coordinator process. When it raises, the run ends with that error. In a job it is called where the result
      was recorded, and not for those that others have recorded;
    * `job:` any term but nil: see the module; `group:` the coordination group of it (the default one); `checkpoint_every:`
      how many results are recorded together at most (64).

  A result is `{:ok, value}`, or `{:error, {:exit, reason}}` when the function failed: that is the item's own affair, and it is
  not tried again.

  The run also says how many items each node has done, how many were stolen and begun again, the nodes that were lost, and
  `recovered`: how many results of a job were recorded before.

  Errors: `:no_nodes` when no node could begin or none is left, `:timeout`, `{:on_result, reason}`, `:not_joined` (this node
  is no member of that cluster). Nothing runs on after an
  error. Of a job also `:other_items` (the name is that of a job with others), `:too_large` (a result of more than 1 MB), and those of `Foundation.Distributed.Coordination.acquire/2`; what is recorded stays.
  """
  @spec run(Enumerable.t(), worker, [option]) :: {:ok, run} | {:error, term}
  def run(items, worker, options \\ []) do
    spread(items, worker!(worker), options!(options))
  end

  defp spread(items, worker, options) do
    with {:ok, scope} <- scope(options[:cluster]) do
      unless scope == nil or is_tuple(worker), do: portable!(:worker, worker, 1)
      items = items |> Enum.with_index() |> Map.new(fn {item, index} -> {index, item} end)
      options = options |> Map.new() |> Map.put(:cluster, scope)
      Coordinator.run(items, worker, options, Context.carry())
    end
  end

  # The main cluster is nil.
  defp scope(cluster) do
    case Scope.of(cluster) do
      nil -> {:ok, nil}
      scope -> if Fabric.handle(scope), do: {:ok, scope}, else: {:error, :not_joined}
    end
  end

  defp portable!(name, function, more) do
    raise ArgumentError,
          "#{name} is {module, function, arguments} in another cluster, whose nodes allow that function with #{more} more " <>
            "arguments, got: #{inspect(function)}"
  end

  @doc """
  Forgets what a job has come to. Options: `:group`.

  Errors: `:running` (someone coordinates it), and those of `Foundation.Distributed.Coordination.acquire/2`. A round to a
  majority for each batch.
  """
  @spec forget(term, keyword) :: :ok | {:error, term}
  def forget(job, options \\ []) when job != nil do
    Consensus.Options.known!(options, [:group], "forget")
    Checkpoint.forget(Keyword.get(options, :group, Consensus.default_group()), job)
  end

  @doc """
  Maps every item to pairs of key and value, and reduces the values of each key, both over the nodes.

      iex> words = fn line -> for word <- String.split(line), do: {word, 1} end
      iex> count = fn _word, ones -> Enum.sum(ones) end
      iex> Foundation.Distributed.Work.map_reduce(["to be or", "not to be"], words, count)
      {:ok, %{"be" => 2, "not" => 1, "or" => 1, "to" => 2}}

  With `job: name` its two halves are the jobs `{name, :map}` and `{name, :reduce}`.

  `mapper` takes an item and gives a list of pairs, `reducer` takes a key and the list of its values, in the order of the
  items; a reducer `{module, function, arguments}` has these two put before its arguments. Options are those of `run/3` and `combine: true`, which lets each node reduce what it has of a key before it
  sends it: right when the reducer may be applied to its own results, in groups of any size, and less to send. In a joined
  cluster mapper and reducer are functions that its nodes allow, and nothing is combined.

  `{:error, {:failed, [{item, reason}]}}` when items failed, `{:error, {:not_reduced, [{key, reason}]}}` when keys
  did; else errors as `run/3` has.
  """
  @spec map_reduce(Enumerable.t(), worker, reducer, [option | {:combine, boolean}]) ::
          {:ok, %{term => term}} | {:error, term}
  def map_reduce(items, mapper, reducer, options \\ []) do
    {combine, options} = Keyword.pop(options, :combine, false)
    {job, options} = Keyword.pop(options, :job)
    {mapper, reducer, options} = {worker!(mapper), reducer!(reducer), options!(options)}

    with {:ok, scope} <- scope(options[:cluster]),
         {:ok, pairs} <-
           mapped(scope, Enum.to_list(items), mapper, combine && reducer, part(options, job, :map)),
         keys = Enum.to_list(group(pairs)),
         {:ok, reduced} <- reduced(scope, keys, reducer, part(options, job, :reduce)) do
      collect(keys, reduced.results)
    end
  end

  defp mapped(nil, items, mapper, combine, options) do
    with {:ok, mapped} <- run(chunks(items), {__MODULE__, :map, [mapper, combine]}, options),
         do: mapped.results |> Enum.zip(chunks(items)) |> pairs()
  end

  # Another node calls the mapper itself, and for each item alone.
  defp mapped(_scope, items, mapper, _combine, options) do
    unless is_tuple(mapper), do: portable!(:mapper, mapper, 1)
    with {:ok, %{results: results}} <- spread(items, mapper, options), do: each_pairs(results, items)
  end

  defp each_pairs(results, items) do
    results =
      Enum.map(results, fn
        {:ok, given} -> checked(given)
        error -> error
      end)

    case for({item, {:error, reason}} <- Enum.zip(items, results), do: {item, reason}) do
      [] -> {:ok, Enum.flat_map(results, fn {:ok, pairs} -> pairs end)}
      failed -> {:error, {:failed, failed}}
    end
  end

  defp reduced(nil, keys, reducer, options), do: run(keys, {__MODULE__, :reduce, [reducer]}, options)

  defp reduced(_scope, keys, reducer, options) do
    unless is_tuple(reducer), do: portable!(:reducer, reducer, 2)
    spread(keys, {:reduce, reducer}, options)
  end

  defp part(options, nil, _part), do: options
  defp part(options, job, part), do: Keyword.put(options, :job, {job, part})

  # Enough pieces for stealing, few enough for the messages to be worth it.
  defp chunks([]), do: []
  defp chunks(items), do: Enum.chunk_every(items, max(div(length(items), 256), 1))

  @doc false
  def map(items, mapper, reducer) do
    mapped = for item <- items, do: {item, attempt(mapper, item)}

    case for({item, {:error, reason}} <- mapped, do: {item, reason}) do
      [] -> {:pairs, mapped |> Enum.flat_map(fn {_, {:ok, pairs}} -> pairs end) |> combine(reducer)}
      failed -> {:failed, failed}
    end
  end

  @doc false
  def reduce({key, values}, reducer), do: apply_reducer(reducer, key, values)

  defp apply_reducer({module, function, arguments}, key, values),
    do: apply(module, function, [key, values | arguments])

  defp apply_reducer(function, key, values), do: function.(key, values)

  defp attempt(mapper, item) do
    mapper |> call(item) |> checked()
  catch
    kind, reason -> {:error, Coordinator.failure(kind, reason, __STACKTRACE__)}
  end

  defp checked(pairs) when is_list(pairs),
    do: if(Enum.all?(pairs, &match?({_, _}, &1)), do: {:ok, pairs}, else: {:error, {:no_pairs, pairs}})

  defp checked(other), do: {:error, {:no_pairs, other}}

  @doc false
  def call({:reduce, reducer}, pair), do: reduce(pair, reducer)
  def call({module, function, arguments}, item), do: apply(module, function, [item | arguments])
  def call(function, item), do: function.(item)

  defp combine(pairs, false), do: pairs

  defp combine(pairs, reducer),
    do: for({key, values} <- group(pairs), do: {key, apply_reducer(reducer, key, values)})

  defp group(pairs), do: Enum.group_by(pairs, &elem(&1, 0), &elem(&1, 1))

  defp pairs(results) do
    failed =
      Enum.flat_map(results, fn
        {{:ok, {:pairs, _}}, _items} -> []
        {{:ok, {:failed, failed}}, _items} -> failed
        {{:error, reason}, items} -> for item <- items, do: {item, reason}
      end)

    if failed == [],
      do: {:ok, Enum.flat_map(results, fn {{:ok, {:pairs, pairs}}, _} -> pairs end)},
      else: {:error, {:failed, failed}}
  end

  defp collect(keys, results) do
    pairs = Enum.zip(keys, results)

    case for({{key, _}, {:error, reason}} <- pairs, do: {key, reason}) do
      [] -> {:ok, Map.new(pairs, fn {{key, _}, {:ok, value}} -> {key, value} end)}
      failed -> {:error, {:not_reduced, failed}}
    end
  end

  defp worker!(function) when is_function(function, 1), do: function
  defp worker!({m, f, a} = mfa) when is_atom(m) and is_atom(f) and is_list(a), do: mfa

  defp worker!(other) do
    raise ArgumentError,
          "the worker must be a function of one argument or {module, function, arguments}, got: #{inspect(other)}"
  end

  defp reducer!(function) when is_function(function, 2), do: function
  defp reducer!({m, f, a} = mfa) when is_atom(m) and is_atom(f) and is_list(a), do: mfa

  defp reducer!(other) do
    raise ArgumentError,
          "the reducer must be a function of two arguments or {module, function, arguments}, got: #{inspect(other)}"
  end

  defp options!(options) do
    unless Keyword.keyword?(options),
      do: raise(ArgumentError, "options must be a keyword list, got: #{inspect(options)}")

    for {name, value} <- options do
      unless name in @options,
        do: raise(ArgumentError, "unknown option #{inspect(name)}, known are #{inspect(@options)}")

      unless valid?(name, value),
        do: raise(ArgumentError, "invalid value for #{inspect(name)}: #{inspect(value)}")
    end

    options
  end

  defp valid?(:nodes, :all), do: true
  defp valid?(:nodes, nodes), do: is_list(nodes) and nodes != [] and Enum.all?(nodes, &is_atom/1)
  defp valid?(:job, job), do: job != nil
  defp valid?(:cluster, cluster), do: is_atom(cluster) and cluster not in [true, false]
  defp valid?(:group, group), do: is_atom(group) or is_binary(group)
  defp valid?(:on_result, function), do: is_function(function, 2)
  defp valid?(name, :infinity) when name in [:item_timeout, :timeout], do: true
  defp valid?(_name, number), do: is_integer(number) and number > 0
end
