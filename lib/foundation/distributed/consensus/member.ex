defmodule Foundation.Distributed.Consensus.Member do
  @moduledoc false
  # What every process that owns a group does: starts it, tells of its leader, stops it.

  alias Foundation.Distributed.Consensus.{Codec, Engine, Options, Roster}
  alias Foundation.{Native, Telemetry}

  @doc "Begins to start the group; the answer comes to the caller as `{reference, {:ok, handle} | {:error, reason}}`."
  @spec start(reference, map, {:coordination | :process, pid}) :: reference
  def start(engine, %{name: name, members: members, options: options}, machine) do
    reference = make_ref()
    group = Codec.group(name)
    # What a process that was killed has left behind.
    :ok = Native.consensus_group_stop(engine, group)
    :ok = Native.consensus_group_start(engine, reference, group, members, Options.group(options), machine)
    reference
  end

  @doc "Stops the group on this node."
  @spec stop(atom | binary) :: :ok
  def stop(name) do
    Roster.down(name)
    if engine = Engine.handle(), do: Native.consensus_group_stop(engine, Codec.group(name))
    :ok
  rescue
    # The table, or the engine, has gone before us.
    ArgumentError -> :ok
  end

  @doc "Tells of a change of leader."
  @spec tell_leader(atom | binary, String.t() | nil, non_neg_integer) :: :ok
  def tell_leader(name, leader, term) do
    metadata = %{group: name, leader: leader && Engine.node_of(leader)}
    Telemetry.execute([:foundation, :consensus, :leader], %{term: term}, metadata)
    :ok
  end
end
