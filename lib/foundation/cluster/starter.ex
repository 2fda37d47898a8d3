defmodule Foundation.Cluster.Starter do
  @moduledoc false
  # Starts a process under this node's supervisor for `Foundation.start_process/3`, asked from this or another node.

  @supervisor Foundation.ProcessSupervisor

  alias Foundation.Distributed.Context

  @spec start(module, term, keyword) :: {:ok, pid} | {:error, term}
  def start(module, args, opts) do
    spec = Supervisor.child_spec({module, args}, restart: Keyword.get(opts, :restart, :transient))

    case DynamicSupervisor.start_child(@supervisor, spec |> named(opts[:name]) |> within(opts[:context])) do
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

  defp within(spec, nil), do: spec

  defp within(%{start: start} = spec, carrier),
    do: %{spec | start: {__MODULE__, :start_within, [start, carrier]}}

  @doc false
  # In the context of the process that asked for it.
  @spec start_within({module, atom, [term]}, Context.carrier()) :: term
  def start_within({module, function, arguments}, carrier),
    do: Context.start_within(carrier, module, fn -> apply(module, function, arguments) end)

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
