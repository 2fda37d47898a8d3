defmodule Foundation.MABEAM.Telemetry do
  @moduledoc """
  Tells how agents and coordination have done, on all nodes together: counts, percentiles, costs.

      {:ok, %{agents: agents}} = Foundation.MABEAM.Telemetry.agents(time_window: :minute)
      for a <- agents, do: {a.type, a.kind, a.count, a.p99_us}

  What is told is what agents and sessions have recorded in `Foundation.Telemetry`, merged value by value: the percentiles are those of all
  values, not means of percentiles.

  **Scheduling**: as `Foundation.Telemetry.get_cluster_metrics/1`.
  """

  alias Foundation.Telemetry

  @callback_us [:foundation, :mabeam, :agent, :callback]
  @duration [:foundation, :mabeam, :session, :duration]
  @messages [:foundation, :mabeam, :session, :messages]
  @tokens [:foundation, :mabeam, :session, :tokens]
  @money [:foundation, :mabeam, :session, :money]

  @type answer :: {:ok, map} | {:error, :not_running}

  @doc false
  @spec callback(atom, atom, non_neg_integer) :: :ok | {:error, atom}
  def callback(kind, type, us), do: Telemetry.record(@callback_us, us, %{kind: kind, type: type})

  @doc false
  def session(protocol, result, outcome) do
    tags = %{protocol: protocol, result: result}
    Telemetry.record(@duration, outcome.duration_us, tags)
    Telemetry.record(@messages, outcome.messages, tags)
    %{tokens: tokens, money: money} = outcome.cost
    if tokens > 0, do: Telemetry.counter_add(@tokens, tokens, tags)
    if money > 0, do: Telemetry.counter_add(@money, money, tags)
    :ok
  end

  @doc """
  How long agents take: `{:ok, %{agents: [map], nodes: [node], missing: [{node, reason}]}}`.

  Each map is of one `:type` of agent and one `:kind` of request, with the `:count` of callbacks that returned and `:mean_us`, `:p50_us`, `:p90_us`,
  `:p99_us`, `:max_us`. Options: `time_window:`, `nodes:`, `timeout:`, as `Foundation.Telemetry.get_cluster_metrics/1`. Errors: `:not_running`. O(series) on each node.
  """
  @spec agents(keyword) :: answer
  def agents(opts \\ []) do
    with {:ok, found} <- found([@callback_us], opts) do
      agents =
        for %{tags: %{kind: kind, type: type}} = metric <- found.metrics do
          metric |> durations() |> Map.merge(%{kind: kind, type: type})
        end

      {:ok, %{agents: Enum.sort_by(agents, &{&1.type, &1.kind}), nodes: found.nodes, missing: found.missing}}
    end
  end

  @doc """
  How coordination has gone: `{:ok, %{sessions: [map], nodes: [node], missing: [{node, reason}]}}`.

  Each map is of one `:protocol` and one `:result` (`:decided`, or the reason), with the `:count` of sessions, their durations as in `agents/1`, and
  all their `:messages`, `:tokens` and `:money` (millionths). The costs are those since the start, whatever the window. Options and errors as
  `agents/1`.
  """
  @spec coordination(keyword) :: answer
  def coordination(opts \\ []) do
    with {:ok, found} <- found([@duration, @messages, @tokens, @money], opts) do
      by_tags = Enum.group_by(found.metrics, & &1.tags)

      sessions =
        for {%{protocol: protocol, result: result}, metrics} <- by_tags, do: tell(metrics, protocol, result)

      {:ok,
       %{
         sessions: Enum.sort_by(sessions, &{&1.protocol, &1.result}),
         nodes: found.nodes,
         missing: found.missing
       }}
    end
  end

  defp tell(metrics, protocol, result) do
    of = Map.new(metrics, &{&1.name, &1})

    of
    |> Map.get(@duration, %{})
    |> durations()
    |> Map.merge(%{
      protocol: protocol,
      result: result,
      messages: of |> Map.get(@messages, %{}) |> Map.get(:sum, 0) |> round(),
      tokens: of |> Map.get(@tokens, %{}) |> Map.get(:value, 0),
      money: of |> Map.get(@money, %{}) |> Map.get(:value, 0)
    })
  end

  defp found(names, opts),
    do:
      opts
      |> Keyword.take([:time_window, :nodes, :timeout])
      |> Keyword.put(:names, names)
      |> Telemetry.get_cluster_metrics()

  defp durations(metric) do
    %{
      count: Map.get(metric, :count, 0),
      mean_us: metric[:mean],
      p50_us: metric[:p50],
      p90_us: metric[:p90],
      p99_us: metric[:p99],
      max_us: metric[:max]
    }
  end
end
