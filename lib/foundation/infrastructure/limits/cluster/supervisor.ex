defmodule Foundation.Infrastructure.Limits.Cluster.Supervisor do
  @moduledoc false
  # The process that leases, from the first shared key on. It owns the table of what is shared, which outlives it.

  use Supervisor

  alias Foundation.Infrastructure.Limits.Cluster.Keeper
  alias Foundation.Infrastructure.Limits.Shared
  alias Foundation.Utils.OnDemand

  def start_link(_options), do: Supervisor.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(nil) do
    :ets.new(Shared.table(), [:named_table, :public, :set, read_concurrency: true])
    Supervisor.init([Keeper], strategy: :one_for_one)
  end

  @doc "Starts it under the application, when it does not run."
  @spec ensure() :: :ok | {:error, term}
  def ensure do
    if Process.whereis(__MODULE__), do: :ok, else: OnDemand.ensure(__MODULE__, [])
  end
end
