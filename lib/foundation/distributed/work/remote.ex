defmodule Foundation.Distributed.Work.Remote do
  @moduledoc false
  # One item done on a node of a joined cluster: a call of a function that the node allows.

  alias Foundation.Cluster.Federation.Wire
  alias Foundation.Distributed.Clusters.Member
  alias Foundation.Distributed.Fabric.Scope

  # Longer no node works on a call.
  @longest_ms 3_600_000

  # With these the node is gone, or does no such work any more.
  @lost [:unreachable, :noproc, :closed, :broken, :not_running, :not_allowed, :draining]

  @doc "The function that a worker is, by the name that nodes allow it by."
  @spec function({module, atom, [term]} | {:reduce, {module, atom, [term]}}) :: Wire.function_name()
  def function({:reduce, {module, function, arguments}}),
    do: {Atom.to_string(module), Atom.to_string(function), length(arguments) + 2}

  def function({module, function, arguments}),
    do: {Atom.to_string(module), Atom.to_string(function), length(arguments) + 1}

  @doc "The item's result, or why the node does no more."
  @spec attempt({Scope.t(), node}, term, term, timeout) :: {:ok, term} | {:error, term} | {:lost, term}
  def attempt({scope, node}, worker, item, timeout) do
    timeout = if timeout == :infinity, do: @longest_ms, else: min(timeout, @longest_ms)

    with {:ok, request} <- Wire.request(target(worker, item)),
         {:ok, {status, bytes}} <- Member.call(scope, node, request, timeout) do
      result(Wire.answer({:ok, status, bytes}))
    else
      {:error, :not_plain} -> {:error, :not_plain}
      {:error, :too_large} -> {:error, :too_large}
      {:error, reason} when reason in [:timeout, :busy] -> {:error, :timeout}
      {:error, reason} when reason in @lost -> {:lost, reason}
      other -> {:lost, {:broken, other}}
    end
  end

  defp target({:reduce, {module, function, arguments}}, {key, values}),
    do: {module, function, [key, values | arguments]}

  defp target({module, function, arguments}, item), do: {module, function, [item | arguments]}

  defp result({:ok, value}), do: {:ok, value}
  # As of one that failed here; why it did only its own node knows.
  defp result({:error, :failed}), do: {:error, {:exit, :failed}}
  defp result({:error, :not_allowed}), do: {:lost, :not_allowed}
  defp result({:error, reason}), do: {:error, reason}
end
