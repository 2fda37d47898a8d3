defmodule Foundation.ProcessLifecycle.Shutdown do
  @moduledoc false
  # Ends processes layer by layer, in the process of who asked: hooks by priority, then the process, each with its time.

  alias Foundation.ProcessLifecycle.Server

  @timeout 30_000

  def run(name, opts) do
    timeout = Keyword.get(opts, :timeout, @timeout)

    unless is_integer(timeout) and timeout >= 0,
      do: raise(ArgumentError, "timeout must be milliseconds, got: #{inspect(timeout)}")

    case Server.begin_shutdown(name) do
      {:error, _} = error -> error
      {hooks, layers} -> {:ok, end_all(hooks, layers, deadline(timeout), opts[:forget] == true)}
    end
  end

  defp end_all(hooks, layers, deadline, forget) do
    general = for {ref, outcome} <- run_hooks(hooks, :all, deadline), do: {ref, outcome}
    report = Enum.flat_map(layers, &end_layer(&1, deadline))
    if forget, do: Server.forget(for layer <- layers, managed <- layer, do: managed.name)

    if general == [],
      do: report,
      else: [%{name: :all, outcome: :stopped, took_ms: 0, hooks: general} | report]
  end

  defp end_layer(layer, deadline) do
    layer
    |> Task.async_stream(&end_one(&1, deadline), max_concurrency: max(length(layer), 1), timeout: :infinity)
    |> Enum.map(fn {:ok, ended} -> ended end)
  end

  defp end_one(managed, deadline) do
    began = System.monotonic_time(:millisecond)
    hooks = run_hooks(managed.hooks, managed.name, deadline)
    outcome = end_process(managed.pid, min(managed.shutdown, left(deadline)))

    %{
      name: managed.name,
      outcome: outcome,
      took_ms: System.monotonic_time(:millisecond) - began,
      hooks: hooks
    }
  end

  defp run_hooks(hooks, name, deadline) do
    for hook <- Enum.sort_by(hooks, &(-&1.priority)),
        do: {hook.ref, run_hook(hook, name, min(hook.timeout, left(deadline)))}
  end

  defp run_hook(hook, name, timeout) do
    task = Task.async(fn -> attempt(hook.run, name) end)

    case Task.yield(task, timeout) || Task.shutdown(task, :brutal_kill) do
      {:ok, outcome} -> outcome
      _ -> :timeout
    end
  end

  defp attempt(run, name) do
    if is_function(run, 0), do: run.(), else: run.(name)
    :ok
  catch
    kind, reason -> {:failed, {kind, reason}}
  end

  defp end_process(nil, _timeout), do: :stopped

  defp end_process(pid, timeout) do
    monitor = Process.monitor(pid)
    Process.exit(pid, :shutdown)

    receive do
      {:DOWN, ^monitor, _, _, _} -> :stopped
    after
      timeout ->
        Process.exit(pid, :kill)
        receive do: ({:DOWN, ^monitor, _, _, _} -> :killed)
    end
  end

  defp deadline(timeout), do: System.monotonic_time(:millisecond) + timeout
  defp left(deadline), do: max(deadline - System.monotonic_time(:millisecond), 0)
end
