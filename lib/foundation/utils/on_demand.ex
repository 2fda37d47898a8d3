defmodule Foundation.Utils.OnDemand do
  @moduledoc false
  # Children of the application's supervisor that begin with their first use.

  @doc "Starts `module` with that argument when it does not run; its id is its name."
  @spec ensure(module, term) :: :ok | {:error, :not_running | term}
  def ensure(module, argument) do
    case Supervisor.start_child(Foundation.Supervisor, {module, argument}) do
      {:ok, _pid} -> :ok
      {:error, {:already_started, _pid}} -> :ok
      {:error, :already_present} -> restarted(Supervisor.restart_child(Foundation.Supervisor, module))
      {:error, reason} -> {:error, reason}
    end
  catch
    :exit, _ -> {:error, :not_running}
  end

  defp restarted({:ok, _pid}), do: :ok
  defp restarted({:error, :running}), do: :ok
  defp restarted({:error, reason}), do: {:error, reason}
end
