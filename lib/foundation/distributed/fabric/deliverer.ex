defmodule Foundation.Distributed.Fabric.Deliverer do
  @moduledoc false
  # Hands over messages from other nodes that the library's own threads leave to a process: those that come thick and
  # fast, which cost less from here, and maps of more than 32 entries, which the VM builds on its schedulers only.
  #
  # One call hands over what takes some 30 µs; then the lanes that have more take turns, and other processes too. Several
  # of these share the lanes.

  use GenServer
  require Logger

  alias Foundation.Distributed.Channels.InContext
  alias Foundation.Distributed.Fabric.Scope
  alias Foundation.Native

  def name(scope, n), do: Scope.process(scope, :"#{__MODULE__}.#{n}")

  def child_spec({scope, n}), do: %{id: {__MODULE__, n}, start: {__MODULE__, :start_link, [scope, n]}}

  def start_link(scope, n), do: GenServer.start_link(__MODULE__, nil, name: name(scope, n))

  @impl true
  def init(nil), do: {:ok, nil}

  @impl true
  def handle_info({:foundation_deliver, errand} = again, state) do
    case Native.fabric_deliver(errand) do
      :done ->
        :ok

      :more ->
        send(self(), again)

      orders ->
        for {pid, message, bytes} <- orders, do: decode(pid, message, bytes)
        send(self(), again)
    end

    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  # The decoded term goes where the atom stands. Peers of the cluster are trusted: atoms are made.
  defp decode(pid, message, bytes) do
    send(pid, fill(message, :erlang.binary_to_term(bytes)))
  rescue
    ArgumentError -> Logger.warning("a message from another node holds no term and was dropped")
  end

  defp fill(:foundation_term, term), do: term

  defp fill({:foundation_channel, channel, node, :foundation_term}, term),
    do: {:foundation_channel, channel, node, term |> InContext.unwrap() |> elem(0)}

  defp fill({:foundation_channel, channel, node, :foundation_term, nil}, term) do
    {message, carrier} = InContext.unwrap(term)
    {:foundation_channel, channel, node, message, carrier}
  end

  defp fill({:foundation_call, node, channel, number, timeout, target, :foundation_term}, term),
    do: {:foundation_call, node, channel, number, timeout, target, term}

  defp fill({reference, {tag, :foundation_term}}, term), do: {reference, {tag, term}}
end
