defmodule Foundation.MABEAM.AgentRegistry.Entry do
  @moduledoc false
  # One agent as its registry sees it, and what is decided about it without a process: whether it is started again, and
  # when.

  alias Foundation.MABEAM.Agent.Gate
  alias Foundation.MABEAM.Types.AgentSpec

  @enforce_keys [:spec, :totals, :since]
  defstruct [
    :spec,
    :totals,
    :since,
    :pid,
    :gate,
    :reason,
    :anchor,
    status: :registered,
    then: nil,
    generation: 0,
    restarts: [],
    total_restarts: 0
  ]

  @type status ::
          :registered | :starting | :running | :draining | :stopping | :restarting | :stopped | :failed
  @type t :: %__MODULE__{
          spec: AgentSpec.t(),
          totals: Gate.totals(),
          since: DateTime.t(),
          pid: pid | nil,
          gate: Gate.gate() | nil,
          reason: term,
          anchor: pid | nil,
          status: status,
          then: :start | :delete | nil,
          generation: non_neg_integer,
          restarts: [integer],
          total_restarts: non_neg_integer
        }

  def new(spec), do: %__MODULE__{spec: spec, totals: Gate.totals(), since: DateTime.utc_now()}

  @doc "The entry with another status."
  @spec to(t, status, term) :: t
  def to(entry, status, reason \\ nil),
    do: %{entry | status: status, reason: reason, since: DateTime.utc_now(), generation: entry.generation + 1}

  @doc "What happens after a process that nobody asked to end has ended: `{:again, ms, entry}` or `{:rest, status}`."
  @spec ended(t, term, integer) :: {:again, non_neg_integer, t} | {:rest, :stopped | :failed}
  def ended(%{spec: spec} = entry, reason, now) do
    normal = reason in [:normal, :shutdown] or reason == {:shutdown, :drained}

    cond do
      spec.restart == :temporary -> {:rest, if(normal, do: :stopped, else: :failed)}
      spec.restart == :transient and normal -> {:rest, :stopped}
      true -> again(entry, now)
    end
  end

  defp again(%{spec: spec} = entry, now) do
    recent = Enum.filter(entry.restarts, &(now - &1 < spec.restart_window))

    if length(recent) >= spec.max_restarts do
      {:rest, :failed}
    else
      {least, most} = spec.backoff
      wait = min(least * 2 ** min(length(recent), 32), most)
      {:again, wait, %{entry | restarts: [now | recent], total_restarts: entry.total_restarts + 1}}
    end
  end

  @doc "What users see of it."
  @spec info(t) :: map
  def info(%{spec: spec} = entry) do
    Map.merge(Gate.read(entry.totals), %{
      id: spec.id,
      node: node(),
      module: spec.module,
      type: spec.type,
      capabilities: spec.capabilities,
      restart: spec.restart,
      resources: spec.resources,
      metadata: spec.metadata,
      status: entry.status,
      reason: entry.reason,
      since: entry.since,
      restarts: entry.total_restarts,
      waiting: if(entry.gate && entry.pid, do: max(Gate.waiting(entry.gate), 0), else: 0),
      busy_ms: if(entry.gate && entry.pid, do: Gate.busy_ms(entry.gate), else: 0)
    })
  end
end
