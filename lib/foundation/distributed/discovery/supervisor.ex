defmodule Foundation.Distributed.Discovery.Supervisor do
  @moduledoc false
  # Runs the directory of one cluster's services, and owns the table of those that this node has registered, which the
  # directory enters again when it starts again.

  use Supervisor

  alias Foundation.Distributed.Discovery
  alias Foundation.Distributed.Discovery.Directory
  alias Foundation.Distributed.Fabric.Scope

  def child_spec(scope), do: %{id: Discovery, type: :supervisor, start: {__MODULE__, :start_link, [scope]}}
  def start_link(scope), do: Supervisor.start_link(__MODULE__, scope, name: Scope.process(scope, __MODULE__))

  @impl true
  def init(scope) do
    :ets.new(Directory.own(scope), [:named_table, :public, :set])
    Supervisor.init([{Discovery, scope}], strategy: :one_for_one)
  end
end
