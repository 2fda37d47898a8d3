defmodule Foundation.Distributed.Registry do
  @moduledoc false
  # What `Foundation.ProcessRegistry.Global` leaves to a higher floor: names that the coordination group gives, as leases
  # with fencing tokens, and moving what runs under a name.
  #
  # A name is a value of the group, {pid, metadata} under a hold of this node's session (Leases); the version that the
  # group gives to the value is the fencing token. What the other nodes find in their tables is the claim with that token
  # that is made after the lease.

  use Supervisor

  alias Foundation.Distributed.Consensus
  alias Foundation.Distributed.Consensus.{Ask, Codec}
  alias Foundation.Distributed.Coordination.Formation
  alias Foundation.Distributed.Registry.Leases
  alias Foundation.DistributedSupervisor
  alias Foundation.ProcessRegistry.Global
  alias Foundation.ProcessRegistry.Global.{Claims, Server, Table}

  def start_link(_options), do: Supervisor.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(nil) do
    Global.put_authority(__MODULE__)
    Supervisor.init([Leases], strategy: :one_for_one)
  end

  @doc "Gives all names of this node back to the group, so that the others need not wait for their leases to end."
  defdelegate close, to: Leases

  @doc "Leases a name for a process of this node, and claims it."
  def register({_scope, _name} = key, pid, settings) do
    with {:ok, token} <- Leases.acquire(key, pid, settings.metadata, settings.timeout),
         {:error, reason} <-
           Server.claim(key, pid, settings.metadata, token: token, on_lost: settings.on_lost) do
      _ = Leases.release(key, pid, settings.timeout)
      {:error, reason}
    end
  end

  @doc "Gives a lease back, if there is one."
  def unregister(key, pid, timeout) do
    with {:error, :not_held} <- Leases.release(key, pid, timeout), do: :ok
  end

  @doc "Whether that token is good still."
  def held?(key, token), do: Leases.token(key) == token

  @doc "Asks the group."
  def lookup(key, timeout) do
    group = Consensus.default_group()

    with :ok <- Formation.ensure(group),
         {:ok, {version, value}} <- Ask.query(group, {:value, Leases.name(key)}, :linearizable, timeout) do
      {pid, metadata} = Codec.decode(value)
      {:ok, Claims.entry(key, newest(Table.row(key), {pid, metadata, 0, version}))}
    else
      {:ok, nil} -> {:error, :not_found}
      error -> error
    end
  end

  # Metadata that were changed since, and when it was, are known by those who have the claim.
  defp newest({_key, pid, metadata, stamp, token}, {_pid, _, _, token}),
    do: {pid, metadata, stamp, token}

  defp newest(_row, claim), do: claim

  @doc "Moves what a distributed supervisor runs under that name."
  def migrate(name, node), do: DistributedSupervisor.migrate_any(name, node)
end
