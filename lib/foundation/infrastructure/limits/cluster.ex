defmodule Foundation.Infrastructure.Limits.Cluster do
  @moduledoc """
  Shares the limits of a key between the nodes of the cluster, by leases that a consensus group gives.

      :ok = Limits.set_limits({:openai, "gpt"}, [tokens: [limit: 90_000, per: 60_000]], scope: :cluster)
      :ok = Limits.acquire({:openai, "gpt"}, %{tokens: 900})

  Each node that sets the limits leases slices of them ahead of need, as large as what it lately used, and spends them
  without asking anybody: `acquire/2` and the others of `Foundation.Infrastructure.Limits` are what they are for limits
  of one node. What a node does not use it gives back; what a node has that dies comes back when its lease ends.

  ## What is promised

  In any window of `per` ms the nodes together spend at most `limit` × (1 + `overshoot`). With `overshoot: 0` it is the limit
  itself. The overshoot is what of the leases of lost nodes is given out again before it is certain that it was not spent: a
  node that dies, or is cut off for longer than its lease, may have spent all it had. What such leases hold beyond the overshoot
  comes back only after a window.

  The proof is in the source of the budget; it asks that a node's clock does not lose more than `skew_ms` against the
  group's leader in the course of a lease, and that two leaders' clocks do not differ by more. What `commit/2` charges
  beyond what was reserved is counted, but it is spent by then.

  ## Without a majority

  Leases run on to their end. Then, by `on_partition:`, a node refuses (`:fail_closed`, the default), or it goes on by itself
  (`:fail_open`), with at most the limit divided by the number of nodes that it last knew of. Then the side with a majority
  and the nodes without one spend together at most twice the limit and the overshoot. What was spent so is told of when
  the group is there again.

  ## What it costs

  A proposal to the group for each node with demand, two or three times a lease, for all its keys together; `charge` and
  leases of a key are some kilobytes on each member. Amounts that were reserved and are settled with less later than the
  next report (half a lease) stay counted for a window. A quota of fewer than four units a node is leased only on demand:
  the first `acquire/2` after a pause is then refused, to be tried again some ms later.

  **Scheduling**: setting limits runs on a dirty CPU scheduler and waits for the first lease. One process a node looks after
  all shared keys, every 25 ms, with a call or two a key on a normal scheduler.
  """

  alias Foundation.Engine
  alias Foundation.Infrastructure.Limits.Cluster.{Group, Keeper, Settings, Supervisor}
  alias Foundation.Infrastructure.Limits.Shared
  alias Foundation.Native

  @doc false
  # Called when the application starts.
  def install, do: Shared.put(__MODULE__)

  @doc """
  Sets limits that the cluster shares; `Foundation.Infrastructure.Limits.set_limits/3` with `scope: :cluster`.

  Call it on every node that uses the key, with the same limits; the last that were set hold for all. Every dimension
  has a `per:`, and no `burst:`; no dimension limits what runs at a time. The key is no pattern.

  Options beside those of `set_limits/3`: `:overshoot` (0.05), a share of the limit; `:on_partition` (`:fail_closed`), see
  above; `:lease_ms` (a quarter of `per`, from 250 to 5,000; at most `per`); `:skew_ms` (a twentieth of `per`, at most 100);
  `:timeout` (5,000 ms), how long to wait for the first lease.

  The group is `:foundation_limits`. It is there when `config :foundation, shared_limits: [members: nodes]` names its first
  members; otherwise the default group of `Foundation.Distributed.Coordination` decides who begins it, and every node that
  shares a limit joins.

  Errors: those of `set_limits/3`, where nothing is set; `{:no_lease, reason}`: the limits are set, no lease has come in
  time, and until one does the key is as `:on_partition` says. Reasons: those of `Foundation.Distributed.Consensus.propose/3`.
  """
  @spec share(term, term, keyword | map) :: :ok | {:error, term}
  def share(key, limits, opts) do
    with {:ok, settings} <- Settings.parse(key, limits, opts),
         :ok <- Supervisor.ensure(),
         :ok <- define(key, settings),
         do: Keeper.share(key, settings)
  end

  defp define(key, %{native: {dimensions, parent, options}}) do
    case Engine.handle(:limits) do
      nil -> {:error, :not_running}
      handle -> Native.limits_define(handle, key, dimensions, parent, options)
    end
  rescue
    ArgumentError -> {:error, :invalid_key}
  end

  @doc """
  What the group knows of a shared key, by dimension: `:limit`, `:charged` (leased, or spent within the window), `:given_up`
  (leases of lost nodes that were given out again), `:holders` (what each node has and has not told of as spent).

  Errors: `:no_group`, and those of `Foundation.Distributed.Consensus.query/3`. A round to a majority.
  """
  @spec status(term, keyword) :: {:ok, %{atom => map}} | {:error, term}
  defdelegate status(key, options \\ []), to: Group

  @doc """
  Has the group forget a key, once `Foundation.Infrastructure.Limits.delete_limits/1` has deleted it on every node; a node that
  still shares it defines it again. Errors: those of `Foundation.Distributed.Consensus.propose/3`. A round to a majority.
  """
  @spec forget(term) :: :ok | {:error, term}
  def forget(key), do: with({:ok, :ok} <- Group.propose({:forget, key}, 5_000), do: :ok)
end
