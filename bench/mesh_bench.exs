Code.require_file("support.exs", __DIR__)

# Picking a provider, and calling it, against what a user would write: a process that keeps the providers, and GenServer.call.

alias Foundation.Bench
alias Foundation.Distributed.Discovery
alias Foundation.Infrastructure.Limits
alias Foundation.{ServiceMesh, ServiceRegistry}

Logger.configure(level: :error)

defmodule MeshBench.Echo do
  @moduledoc false
  use GenServer
  def start_link(_), do: GenServer.start_link(__MODULE__, nil)
  def init(nil), do: {:ok, nil}
  def handle_call(request, _from, state), do: {:reply, request, state}
end

defmodule MeshBench.Balancer do
  @moduledoc false
  # What a user would write: a process that knows the providers and gives them out in turn.
  use GenServer
  def start_link(pids), do: GenServer.start_link(__MODULE__, pids)
  def pick(balancer), do: GenServer.call(balancer, :pick)
  def init(pids), do: {:ok, {pids, []}}
  def handle_call(:pick, _from, {[pid | rest], had}), do: {:reply, {:ok, pid}, {rest, [pid | had]}}
  def handle_call(:pick, from, {[], had}), do: handle_call(:pick, from, {Enum.reverse(had), []})
end

start = fn service, count ->
  for n <- 1..count do
    {:ok, pid} = MeshBench.Echo.start_link(nil)
    :ok = ServiceRegistry.register_mesh_service(service, pid, weight: rem(n, 3) + 1)
    pid
  end
end

pids = start.(:ten, 10)
start.(:thousand, 1_000)
{:ok, balancer} = MeshBench.Balancer.start_link(pids)
{:ok, %{pid: picked}} = ServiceRegistry.route_to_best_instance(:ten)
true = picked in pids
{:ok, :hello} = ServiceMesh.call(:ten, :hello)
1_000 = length(Discovery.discover_services(service: :thousand))

IO.puts("picking one of ten providers")

for policy <- [:p2c_ewma, :round_robin, :weighted, :least_loaded, :locality_aware, :health_based] do
  Bench.compare("#{policy}, against a process that is asked",
    ours: fn _ -> {:ok, _} = ServiceRegistry.route_to_best_instance({:service, :ten}, policy: policy) end,
    theirs: fn _ -> {:ok, _} = MeshBench.Balancer.pick(balancer) end,
    rounds: 5,
    iterations: 30_000,
    their_iterations: 15_000
  )
end

Bench.compare("p2c_ewma, 2 processes, against a process that is asked",
  ours: fn _ -> {:ok, _} = ServiceRegistry.route_to_best_instance({:service, :ten}) end,
  theirs: fn _ -> {:ok, _} = MeshBench.Balancer.pick(balancer) end,
  processes: 2,
  rounds: 5,
  iterations: 30_000,
  their_iterations: 15_000
)

ns = Bench.run(fn _ -> {:ok, _} = ServiceRegistry.route_to_best_instance({:service, :ten}) end, 200_000, 2)
Bench.figure("picks with 2 processes", "#{round(1.0e9 / ns)}/s")

ns = Bench.run(fn _ -> {:ok, _} = ServiceRegistry.route_to_best_instance({:service, :thousand}) end, 50_000)
Bench.figure("p2c_ewma, of 1,000 providers", Bench.nanoseconds(ns))
options = [policy: :least_loaded]

ns =
  Bench.run(
    fn _ -> {:ok, _} = ServiceRegistry.route_to_best_instance({:service, :thousand}, options) end,
    500
  )

Bench.figure("least_loaded, of 1,000 providers", Bench.nanoseconds(ns))

IO.puts("calling")
all = List.to_tuple(pids)

# Of one of the ten at random, as the mesh does.
plain = fn i -> ^i = GenServer.call(elem(all, :rand.uniform(10) - 1), i) end

Bench.compare("ServiceMesh.call of local processes, against GenServer.call",
  ours: fn i -> {:ok, ^i} = ServiceMesh.call({:service, :ten}, i) end,
  theirs: plain,
  rounds: 7,
  iterations: 20_000
)

hedged = [idempotent: true, hedge: 1_000]

Bench.compare("the same with a hedge in reserve, against GenServer.call",
  ours: fn i -> {:ok, ^i} = ServiceMesh.call({:service, :ten}, i, hedged) end,
  theirs: plain,
  rounds: 5,
  iterations: 10_000
)

IO.puts("limits shared by the cluster")
big = [requests: [limit: 1_000_000_000, per: 60_000]]
:ok = Limits.set_limits(:bench_shared, big, scope: :cluster)
:ok = Limits.set_limits(:bench_node, big)

# Until enough is leased for the rounds to come.
ready = fn ready ->
  {:ok, %{dimensions: %{requests: %{remaining: left}}}} = Limits.peek(:bench_shared)
  if left < 5_000_000, do: {Process.sleep(20), ready.(ready)}
end

ready.(ready)

Bench.compare("acquire of a shared limit, against one of this node",
  ours: fn _ -> :ok = Limits.acquire(:bench_shared, %{requests: 1}) end,
  theirs: fn _ -> :ok = Limits.acquire(:bench_node, %{requests: 1}) end,
  rounds: 5,
  iterations: 100_000
)
