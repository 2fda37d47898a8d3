defmodule AstAnalysis.Ask do
  @moduledoc """
  Asks analysts, and goes on asking while one is on its way from a node that was lost to another.

  Whether the lost one had done what it was asked cannot be known. So all that analysts are asked may be asked twice: what is
  known of a version of a module stays, and a question changes nothing.
  """

  alias Foundation.MABEAM.Comms

  @patience_ms 60_000
  @again_ms 100
  @request_ms 30_000

  # On its way, or its node was lost with the question.
  @later [:not_found, :not_started, :down, :unreachable, :timeout, :draining, :stopping, :expired, :busy]

  @doc "Has an analyst do a task. An error is what it is still after a minute."
  @spec task(String.t(), term) :: {:ok, term} | {:error, term}
  def task(analyst, task),
    do: task(analyst, task, System.monotonic_time(:millisecond) + @patience_ms)

  defp task(analyst, task, deadline) do
    case Comms.request(analyst, {:task, task}, timeout: @request_ms) do
      {:ok, {:done, result}} -> {:ok, result}
      {:ok, {:failed, reason}} -> {:error, reason}
      {:error, reason} when reason in @later -> later(analyst, task, deadline, reason)
      {:error, reason} -> {:error, reason}
    end
  end

  defp later(analyst, task, deadline, reason) do
    if System.monotonic_time(:millisecond) < deadline do
      Process.sleep(@again_ms)
      task(analyst, task, deadline)
    else
      {:error, reason}
    end
  end

  @doc "Asks several analysts the same at once: the answers, in the order of the analysts."
  @spec all([String.t()], term) :: [term]
  def all(analysts, question) do
    analysts
    |> Task.async_stream(&one(&1, question), max_concurrency: length(analysts), timeout: :infinity)
    |> Enum.map(fn {:ok, answer} -> answer end)
  end

  @doc "Asks one analyst."
  @spec one(String.t(), term) :: term
  def one(analyst, question) do
    {:ok, answer} = task(analyst, {:ask, question})
    answer
  end
end
