defmodule Foundation.BEAM.Processes.Group do
  @moduledoc false
  # Starts the processes of a group, and is what they run when their module has no start_link/1.

  @type spawner :: ((() -> any) -> pid)

  @spec start(map, spawner) :: {coordinator :: pid, workers :: [pid]}
  def start(config, spawner) do
    coordinator = coordinator(config, spawner)
    {module, opts} = config.workers

    workers =
      for _ <- 1..population(opts[:count] || 1) do
        start(module, [coordinator: coordinator], :worker, spawner)
      end

    {coordinator, workers}
  end

  @spec coordinator(map, spawner) :: pid
  def coordinator(config, spawner), do: start(config.coordinator, [], :coordinator, spawner)

  # 1.x counted from one down to zero for a count of 0, and users' group sizes follow from that.
  defp population(count) when count < 1, do: 2 - count
  defp population(count), do: count

  defp start(module, argument, role, spawner) do
    with true <- Code.ensure_loaded?(module) and function_exported?(module, :start_link, 1),
         {:ok, pid} when is_pid(pid) <- module.start_link(argument) do
      pid
    else
      pid when is_pid(pid) -> pid
      _ -> spawner.(fn -> loop(role) end)
    end
  end

  defp loop(role) do
    receive do
      :shutdown ->
        :ok

      {:test_message, _data, from} ->
        send(from, {:message_processed, role})
        loop(role)

      {:work_request, from, work} when role == :coordinator ->
        send(from, {:work_assigned, work})
        loop(role)

      _other ->
        loop(role)
    end
  end
end
