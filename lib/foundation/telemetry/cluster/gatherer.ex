defmodule Foundation.Telemetry.Cluster.Gatherer do
  @moduledoc false
  # Gathers the metrics of all nodes again and again, so that who is content with what is some seconds old need not wait.

  use GenServer, restart: :permanent

  alias Foundation.Telemetry

  @key {__MODULE__, :last}

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @doc "What was gathered last with these options, unless it is older."
  @spec last(keyword, pos_integer) :: {:ok, map} | nil
  def last(opts, max_age) do
    case :persistent_term.get(@key, nil) do
      {^opts, at, found} -> if now() - at <= max_age, do: {:ok, found}
      _ -> nil
    end
  end

  @impl true
  def init(opts) do
    Process.flag(:trap_exit, true)
    {interval, opts} = Keyword.pop!(opts, :interval)
    {:ok, %{interval: interval, opts: opts}, {:continue, :gather}}
  end

  @impl true
  def handle_continue(:gather, state), do: gather(state)

  @impl true
  def handle_info(:gather, state), do: gather(state)
  def handle_info(_other, state), do: {:noreply, state}

  # The interval begins when the last answer is in: slow nodes are not asked twice at a time.
  defp gather(%{opts: opts, interval: interval} = state) do
    began = now()

    with {:ok, found} <- Telemetry.get_cluster_metrics(opts) do
      :persistent_term.put(@key, {opts, now(), found})

      Telemetry.execute(
        [:foundation, :telemetry, :cluster_gathered],
        %{
          nodes: length(found.nodes),
          missing: length(found.missing),
          series: length(found.metrics),
          took_ms: now() - began
        },
        %{}
      )
    end

    Process.send_after(self(), :gather, interval)
    {:noreply, state}
  end

  @impl true
  def terminate(_reason, _state), do: :persistent_term.erase(@key)

  defp now, do: System.monotonic_time(:millisecond)
end
