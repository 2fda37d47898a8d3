defmodule Foundation.Cluster.Starter do
  @moduledoc false
  # Starts a process under this node's supervisor for `Foundation.start_process/3`, asked from this or another node.

  @supervisor Foundation.ProcessSupervisor

  @spec start(module, term, keyword) :: {:ok, pid} | {:error, term}
  def start(module, args, opts) do
    spec = Supervisor.child_spec({module, args}, restart: Keyword.get(opts, :restart, :transient))

    case DynamicSupervisor.start_child(@supervisor, named(spec, opts[:name])) do
      {:ok, pid, _info} -> {:ok, pid}
      :ignore -> {:error, :ignore}
      other -> other
    end
  catch
    :exit, {:noproc, _} -> {:error, :not_running}
  end

  defp named(spec, nil), do: spec
  defp named(%{start: start} = spec, name), do: %{spec | start: {__MODULE__, :start_named, [start, name]}}

  @doc false
  # Also at a restart, by the supervisor: the name is taken before anyone is told that the process runs.
  @spec start_named({module, atom, [term]}, atom) :: term
  def start_named({module, function, arguments}, name) do
    with {:ok, pid} <- apply(module, function, arguments) do
      register(pid, name)
    end
  end

  defp register(pid, name) do
    Process.register(pid, name)
    {:ok, pid}
  rescue
    ArgumentError ->
      Process.unlink(pid)
      Process.exit(pid, :kill)
      {:error, {:name_taken, name}}
  end
end
