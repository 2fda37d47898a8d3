defmodule Foundation.Distributed.Consensus.Restarter do
  @moduledoc false
  # Starts the groups of the roster when the processes below them were started again.

  use GenServer

  alias Foundation.Distributed.Consensus.{Roster, Supervisor}

  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(nil) do
    for {_group, spec} <- Roster.all(), do: Supervisor.start_group(spec)
    {:ok, nil}
  end
end
