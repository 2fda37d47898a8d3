defmodule Foundation.ServiceMesh.Transport do
  @moduledoc false
  # Calls a GenServer wherever it is: over the fabric where that knows its node, over Distributed Erlang otherwise.
  #
  # An error says whether the request may have been acted on: :unsent when it cannot have been, :unknown otherwise.

  alias Foundation.Distributed.{Call, Fabric}

  # Not the fault of the provider.
  @ours [:busy, :unknown_channel, :too_large, :not_running]

  @type answer :: {:ok, term} | {:error, term, :unsent | :unknown}

  @doc "Calls it."
  @spec call(pid, term, non_neg_integer, atom) :: answer
  def call(pid, request, timeout, channel) do
    if node(pid) == node() or node(pid) not in Fabric.nodes(),
      do: plain(pid, request, timeout),
      else: over_fabric(pid, request, timeout, channel)
  end

  defp over_fabric(pid, request, timeout, channel) do
    case Call.call(channel, pid, request, timeout: timeout) do
      {:ok, reply} -> {:ok, reply}
      {:error, reason} when reason in [:noproc, :closed | @ours] -> {:error, reason, :unsent}
      {:error, reason} -> {:error, reason, :unknown}
    end
  end

  defp plain(pid, request, timeout) do
    {:ok, GenServer.call(pid, request, timeout)}
  catch
    :exit, {:timeout, {GenServer, :call, _}} -> {:error, :timeout, :unknown}
    :exit, {:noproc, {GenServer, :call, _}} -> {:error, :noproc, :unsent}
    :exit, {:calling_self, {GenServer, :call, _}} -> {:error, :calling_self, :unsent}
    :exit, {{:nodedown, _node}, {GenServer, :call, _}} -> {:error, :unreachable, :unknown}
    :exit, {reason, {GenServer, :call, _}} -> {:error, {:exit, reason}, :unknown}
  end

  @doc "Whether an error says something about the provider."
  @spec counts?(term) :: boolean
  def counts?(reason), do: reason not in [:calling_self | @ours]
end
