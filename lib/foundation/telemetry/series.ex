defmodule Foundation.Telemetry.Series do
  @moduledoc """
  Names one series, prepared for recording: see `Foundation.Telemetry.prepare/3`.

  It is a plain value to keep in a process state or a persistent term; it outlives
  `Foundation.Telemetry.forget/1` and restarts of the service.
  """

  @enforce_keys [:kind, :name, :tags, :ref]
  defstruct [:kind, :name, :tags, :ref]

  @typedoc "A prepared series."
  @opaque t :: %__MODULE__{kind: atom, name: term, tags: map, ref: reference}

  @doc false
  @spec new(atom, term, map, reference) :: t
  def new(kind, name, tags, ref), do: %__MODULE__{kind: kind, name: name, tags: tags, ref: ref}
end

defimpl Inspect, for: Foundation.Telemetry.Series do
  import Inspect.Algebra

  def inspect(series, opts),
    do:
      concat([
        "#Foundation.Telemetry.Series<",
        to_doc({series.kind, series.name, series.tags}, opts),
        ">"
      ])
end
