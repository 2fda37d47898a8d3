defmodule Foundation.Cluster.Strategy.Auto do
  @moduledoc """
  Picks the strategies that suit the place this node runs in: what `cluster: true` means.

  | place, and what tells it | strategy |
  |---|---|
  | Kubernetes: `KUBERNETES_SERVICE_HOST` and the service account's token | `:kubernetes`, selector `app=<name>` or `FOUNDATION_KUBERNETES_SELECTOR`; with `FOUNDATION_HEADLESS_SERVICE`: `:kubernetes_dns` |
  | Fly: `FLY_APP_NAME` | `:dns` of `<app>.internal` |
  | Nomad: `NOMAD_ALLOC_ID` | `:consul`, service `CONSUL_SERVICE_NAME` or the job's name |
  | ECS: `ECS_CONTAINER_METADATA_URI_V4` | `:ecs`, the tasks of the same service; with `FOUNDATION_DNS_QUERY`, a name in Cloud Map: `:dns` of it |
  | Consul: `CONSUL_HTTP_ADDR` | `:consul`, service `CONSUL_SERVICE_NAME` or `<name>` |
  | Docker Compose: Docker's DNS | `:dns` of the service, with mDNS, gossip and local epmd beside it |
  | anywhere else | mDNS, gossip and local epmd side by side |

  `<name>` is the first part of the node's name; a node without one is named after the release, or `foundation`, and its
  address where nodes are found by address. The strategies run under names of their own, `:auto_…`, in
  `Foundation.Cluster.info/0`; when one finds nothing or fails, the others still do.
  """

  use Foundation.Cluster.Strategy

  alias Foundation.Cluster.{Environment, Keeper, Strategy}

  require Logger

  @impl Strategy
  def child_spec(args),
    do: %{id: __MODULE__, type: :supervisor, start: {__MODULE__, :start_link, [args]}}

  @impl Strategy
  def start_link([state]) do
    place = Environment.detect()
    names = Enum.map_join(place.topologies, ", ", &inspect(&1.module))
    Logger.info("[cluster:#{state.topology}] this is #{place.platform}: #{names}")
    children = Enum.map(place.topologies, &{Keeper, %{&1 | config: Keyword.merge(&1.config, state.config)}})
    result = Supervisor.start_link(children, strategy: :one_for_one)
    Strategy.report(state, {:ok, []})
    result
  end
end
