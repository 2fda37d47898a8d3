defmodule Foundation.Infrastructure.Breaker.Handle do
  @moduledoc """
  Names one breaker without a lookup: see `Foundation.Infrastructure.Breaker.prepare/1`.
  """

  @enforce_keys [:ref, :key]
  defstruct [:ref, :key]

  @opaque t :: %__MODULE__{ref: reference, key: term}
end
