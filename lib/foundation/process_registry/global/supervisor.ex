defmodule Foundation.ProcessRegistry.Global.Supervisor do
  @moduledoc false
  # Owns the tables of the cluster's names, so that they outlive the process that writes them.

  use Supervisor

  alias Foundation.ProcessRegistry.Global.{Server, Table}

  def start_link(_options), do: Supervisor.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(nil) do
    Table.create()
    Supervisor.init([Server], strategy: :one_for_one)
  end
end
