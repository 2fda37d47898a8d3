defmodule Foundation.Distributed.Consensus.Supervisor do
  @moduledoc false
  # The processes of consensus on this node: those that send and receive frames, the engine, and the groups. They exist
  # from the first group on. When the engine goes, its groups begin again with it.

  use Supervisor

  alias Foundation.Distributed.Consensus.{Engine, Receiver, Restarter, Roster, Sender}
  alias Foundation.Utils.OnDemand

  @groups Foundation.Distributed.Consensus.Groups

  def start_link(options), do: Supervisor.start_link(__MODULE__, options, name: __MODULE__)

  @doc "Starts it under the application, when it does not run."
  @spec ensure() :: :ok | {:error, term}
  def ensure do
    case Process.whereis(Restarter) && Process.whereis(__MODULE__) do
      pid when is_pid(pid) -> :ok
      nil -> start()
    end
  end

  defp start do
    with {:error, reason} <- OnDemand.ensure(__MODULE__, []), do: {:error, reason(reason)}
  end

  defp reason({:shutdown, {:failed_to_start_child, _child, reason}}), do: reason
  defp reason({reason, {:child, _, _, _, _, _, _, _, _}}), do: reason(reason)
  defp reason(reason), do: reason

  @impl true
  def init(options) do
    children = [
      Roster,
      Sender,
      {Engine, options},
      Receiver,
      {DynamicSupervisor, name: @groups, max_restarts: 10, max_seconds: 10},
      Restarter
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end

  @doc "Starts the process of a group."
  @spec start_group(Supervisor.child_spec()) :: DynamicSupervisor.on_start_child()
  def start_group(spec), do: DynamicSupervisor.start_child(@groups, spec)

  @doc "Ends the process of a group."
  @spec stop_group(pid) :: :ok | {:error, :not_found}
  def stop_group(pid), do: DynamicSupervisor.terminate_child(@groups, pid)
end
