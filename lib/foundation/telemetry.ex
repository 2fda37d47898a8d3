defmodule Foundation.Telemetry do
  @moduledoc false
  # Interim: filled by the metrics branch.
  def execute(_name, _measurements, _metadata), do: :ok
  def emit_counter(_name, _metadata), do: :ok
  def emit_gauge(_name, _value, _metadata), do: :ok
  def emit_histogram(_name, _value, _metadata \\ %{}), do: :ok
end
