defmodule Foundation.Distributed.Consensus.Roster do
  @moduledoc false
  # Which groups this node has: how each was started, its native handle and its process. Outlives the groups, so that
  # they can be started again.

  use GenServer

  @table :foundation_consensus_groups

  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(nil) do
    :ets.new(@table, [:named_table, :public, read_concurrency: true])
    {:ok, nil}
  end

  @doc "Remembers how a group is started; false when it is known. `kind`: whose its machine is."
  @spec enter(atom | binary, :coordination | :process, Supervisor.child_spec()) :: boolean
  def enter(group, kind, spec) do
    :ets.insert_new(@table, {{:spec, group}, spec}) and :ets.insert(@table, {group, kind, nil, nil})
  end

  @doc "The group runs."
  @spec running(atom | binary, reference, pid) :: boolean
  def running(group, handle, pid), do: :ets.update_element(@table, group, [{3, handle}, {4, pid}])

  @doc "The group does not run, until it is started again."
  @spec down(atom | binary) :: boolean
  def down(group), do: :ets.update_element(@table, group, [{3, nil}, {4, nil}])

  @doc "Forgets a group."
  @spec leave(atom | binary) :: true
  def leave(group) do
    :ets.delete(@table, {:spec, group})
    :ets.delete(@table, group)
  end

  @doc "A running group: whose its machine is, its native handle and its process. O(1)."
  @spec find(atom | binary) :: {:ok, :coordination | :process, reference, pid} | {:error, :no_group}
  def find(group) do
    case :ets.lookup(@table, group) do
      [{_, kind, handle, pid}] when handle != nil -> {:ok, kind, handle, pid}
      _ -> {:error, :no_group}
    end
  rescue
    ArgumentError -> {:error, :no_group}
  end

  @doc "The native handle of a running group. O(1)."
  @spec handle(atom | binary) :: {:ok, reference} | {:error, :no_group}
  def handle(group), do: with({:ok, _kind, handle, _pid} <- find(group), do: {:ok, handle})

  @doc "Every group with how it is started."
  @spec all() :: [{atom | binary, Supervisor.child_spec()}]
  def all do
    for [group, spec] <- :ets.match(@table, {{:spec, :"$1"}, :"$2"}), do: {group, spec}
  rescue
    ArgumentError -> []
  end
end
