defmodule Foundation.ServiceMesh.Tables do
  @moduledoc false
  # The tables of the mesh, owned by its supervisor: what calls of a selection go by, hedging delays,
  # subscribers and checks; and the calls under way,
  # so that those of a caller that was killed are not counted for ever.

  alias Foundation.Distributed.Discovery.Load

  @settings Foundation.ServiceMesh.Settings
  @calls Foundation.ServiceMesh.Calls

  @doc "Makes them; the caller owns them."
  @spec new() :: :ok
  def new do
    :ets.new(@settings, [:named_table, :public, :set, read_concurrency: true])
    :ets.new(@calls, [:named_table, :public, :set, write_concurrency: true])
    :ok
  end

  @doc "What stands there, or nil. O(1)."
  @spec get(term) :: term
  def get(key) do
    case :ets.lookup(@settings, key) do
      [{_, value}] -> value
      [] -> nil
    end
  end

  @spec put(term, term) :: true
  def put(key, value), do: :ets.insert(@settings, {key, value})

  @doc "False when something stands there already."
  @spec put_new(term, term) :: boolean
  def put_new(key, value), do: :ets.insert_new(@settings, {key, value})

  @spec delete(term) :: true
  def delete(key), do: :ets.delete(@settings, key)

  @doc "All of a kind: keys are {kind, what}."
  @spec all(atom) :: [{term, term}]
  def all(kind), do: for([key, value] <- :ets.match(@settings, {{kind, :"$1"}, :"$2"}), do: {key, value})

  @doc "What calls of a selection go by; nil when there were none. O(1)."
  @spec call(term) :: {map, term, term} | nil
  def call(selection) do
    case :ets.lookup(@settings, {:call, selection}) do
      [{_, settings, budget, series}] -> {settings, budget, series}
      [] -> nil
    end
  end

  @spec put_call(term, {map, term, term}) :: true
  def put_call(selection, {settings, budget, series}),
    do: :ets.insert(@settings, {{:call, selection}, settings, budget, series})

  @doc "Unless there is something."
  @spec put_new_call(term, {map, term, term}) :: boolean
  def put_new_call(selection, {settings, budget, series}),
    do: :ets.insert_new(@settings, {{:call, selection}, settings, budget, series})

  @doc "The calling process has a call under way there."
  @spec begin(pos_integer, Load.t()) :: :ok
  def begin(id, load) do
    :ets.insert(@calls, {{self(), id}, load})
    Load.begin(load)
  end

  @doc "It has none any more."
  @spec finish(pos_integer) :: true
  def finish(id), do: :ets.delete(@calls, {self(), id})

  @doc "A process that was ended had one under way."
  @spec abandon(pid, pos_integer) :: :ok
  def abandon(pid, id) do
    for {_, load} <- :ets.take(@calls, {pid, id}), do: Load.abandon(load)
    :ok
  end

  @doc "Gives back what callers that have ended had under way; how many. O(calls under way)."
  @spec sweep() :: non_neg_integer
  def sweep do
    gone = for [{pid, id}] <- :ets.match(@calls, {:"$1", :_}), not Process.alive?(pid), do: {pid, id}
    for {pid, id} <- gone, do: abandon(pid, id)
    length(gone)
  end
end
