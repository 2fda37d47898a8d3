defmodule Foundation.ServiceMesh.Supervisor do
  @moduledoc false
  # The processes of the mesh: one that looks after providers that fail, one that checks those of this node. It owns the
  # tables, so that what a service was told outlives both.

  use Supervisor

  alias Foundation.ServiceMesh.{Checks, Outliers, Tables}

  def start_link(_options), do: Supervisor.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(nil) do
    Tables.new()
    Supervisor.init([Outliers, Checks], strategy: :one_for_one)
  end
end
