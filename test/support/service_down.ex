defmodule Foundation.ServiceDown do
  @moduledoc false
  # Takes a child of the application's supervisor away for a while, without it being counted as a crash: three of these
  # within five seconds would stop the application.

  @doc "Runs the function while the child is not there."
  def without(child, fun) do
    :ok = Supervisor.terminate_child(Foundation.Supervisor, child)

    try do
      fun.()
    after
      {:ok, _pid} = Supervisor.restart_child(Foundation.Supervisor, child)
    end
  end

  @doc "Kills the child and starts it again."
  def crash(child) do
    {_, pid, _, _} = Foundation.Supervisor |> Supervisor.which_children() |> List.keyfind(child, 0)
    ref = Process.monitor(pid)
    without(child, fn -> receive(do: ({:DOWN, ^ref, _, _, _} -> :ok)) end)
  end
end
