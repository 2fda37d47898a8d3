defmodule Foundation.Cluster.Signal.Handler do
  @moduledoc false
  # The signal server's handler: on SIGTERM it waits for the drain, at most the time given and a second.

  @behaviour :gen_event

  alias Foundation.Cluster

  require Logger

  @margin_ms 1_000

  @impl true
  def init(timeout), do: {:ok, timeout}

  @impl true
  def handle_event(:sigterm, timeout) do
    Logger.notice("[cluster] SIGTERM: draining, at most #{timeout} ms")

    {pid, reference} =
      spawn_monitor(fn -> Cluster.drain(cluster: :all, reason: :sigterm, timeout: timeout) end)

    receive do
      {:DOWN, ^reference, _, _, _} -> :ok
    after
      timeout + @margin_ms ->
        Process.demonitor(reference, [:flush])
        Process.exit(pid, :kill)
    end

    {:ok, timeout}
  end

  def handle_event(_signal, timeout), do: {:ok, timeout}

  @impl true
  def handle_call(_request, timeout), do: {:ok, {:error, :unknown}, timeout}

  @impl true
  def handle_info(_message, timeout), do: {:ok, timeout}
end
