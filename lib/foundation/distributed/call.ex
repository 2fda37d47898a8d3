defmodule Foundation.Distributed.Call do
  @moduledoc false
  # Calls over a channel, with a deadline after which no answer comes any more.

  alias Foundation.Distributed.Channels.{InContext, Route, Wire}
  alias Foundation.Distributed.Fabric
  alias Foundation.Native

  @longest 0xFFFFFFFF

  def call(channel, destination, request, options) do
    options = Wire.options(Keyword.put_new(options, :timeout, 5_000))

    case Route.resolve(channel, destination, options.cluster) do
      {:ok, {_node, []}} ->
        raise ArgumentError,
              "a call goes to {name, node}, a pid, {:service, s} or {:capability, c}, got: #{inspect(destination)}"

      {:ok, {node, target}} when node == node() ->
        here(target, request, options.timeout)

      {:ok, {node, target}} ->
        there(Fabric.handle(options.cluster), channel, node, target, request, options)

      error ->
        error
    end
  end

  defp here(target, request, timeout) do
    {:ok, GenServer.call(target, request, timeout)}
  catch
    :exit, {:timeout, _} -> {:error, :timeout}
    :exit, {:noproc, _} -> {:error, :noproc}
    :exit, {reason, {GenServer, :call, _}} -> {:error, {:exit, reason}}
  end

  defp there(nil, _channel, _node, _target, _request, _options), do: {:error, :not_running}

  defp there(handle, channel, node, target, request, options),
    do: attempt(handle, channel, node, target, request, options, Wire.deadline(options.timeout))

  defp attempt(handle, channel, node, target, request, options, deadline) do
    reference = make_ref()
    who = {options.from, reference, milliseconds(deadline)}
    request = InContext.wrap(request)

    answer =
      with :dirty <- Native.fabric_call(handle, channel, node, target, request, who),
           do: Native.fabric_call_large(handle, channel, node, target, request, who)

    case answer do
      {:ok, number, call} ->
        # While it waits this process, and nobody else, holds `call`; when it ends, the other node is told.
        Wire.await(handle, reference, number, deadline, fn ->
          Native.fabric_cancel_call(handle, channel, node, number)
          call
        end)

      {:error, :busy} ->
        with :ok <- Wire.await_room(handle, channel, node, options.from, deadline),
             do: attempt(handle, channel, node, target, request, options, deadline)

      other ->
        other
    end
  end

  defp milliseconds(:infinity), do: @longest
  defp milliseconds(deadline), do: min(Wire.left(deadline), @longest)
end
