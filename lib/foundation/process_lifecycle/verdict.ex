defmodule Foundation.ProcessLifecycle.Verdict do
  @moduledoc false
  # What a health check says, from what its function returns, raises or throws.

  @type t :: {:healthy, nil} | {:degraded | :unhealthy, reason :: term}

  @spec of((() -> term)) :: t
  def of(run) do
    case run.() do
      well when well in [:ok, true, :healthy] -> {:healthy, nil}
      :degraded -> {:degraded, nil}
      {:degraded, reason} -> {:degraded, reason}
      {kind, reason} when kind in [:unhealthy, :error] -> {:unhealthy, reason}
      other -> {:unhealthy, other}
    end
  catch
    kind, reason -> {:unhealthy, {kind, reason}}
  end
end
