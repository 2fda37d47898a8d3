defmodule Foundation.MABEAM.Coordination.Market.Supervisor do
  @moduledoc false
  # The auctions and markets that are open on this node, and their names.

  use Supervisor

  @names Foundation.MABEAM.Markets
  @open Foundation.MABEAM.OpenMarkets
  @most 10_000

  def start_link(_opts), do: Supervisor.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(nil) do
    children = [
      {Registry, keys: :unique, name: @names},
      {DynamicSupervisor, name: @open, max_children: @most}
    ]

    Supervisor.init(children, strategy: :one_for_all)
  end

  @spec running?() :: boolean
  def running?, do: Process.whereis(__MODULE__) != nil

  @doc "Opens one; the process ends with what it is for."
  @spec start(Supervisor.child_spec() | {module, term}) :: {:ok, pid} | {:error, term}
  def start(child) do
    case DynamicSupervisor.start_child(@open, child) do
      {:ok, pid} -> {:ok, pid}
      {:error, :max_children} -> {:error, :busy}
      {:error, reason} -> {:error, reason}
    end
  catch
    :exit, _ -> {:error, :not_running}
  end
end
