defmodule Foundation.Events.Feed do
  @moduledoc false
  # Sends what a subscription of this node gets to a process of another. It never has more than a batch on the way: the
  # next leaves when the last has been acknowledged, and what comes meanwhile waits in the subscription's bounded queue.

  use GenServer, restart: :temporary

  alias Foundation.Events.Subscription

  @batch 100
  @supervisor Foundation.ProcessSupervisor

  @doc "Starts a feed to `watcher` under that reference, on this node. Called by other nodes."
  @spec start(pid, reference, term, keyword) :: {:ok, pid} | {:error, term}
  def start(watcher, ref, where, opts) do
    DynamicSupervisor.start_child(@supervisor, {__MODULE__, {watcher, ref, where, opts}})
  catch
    :exit, _ -> {:error, :not_running}
  end

  def start_link(arguments), do: GenServer.start_link(__MODULE__, arguments)

  @impl true
  def init({watcher, ref, where, opts}) do
    Process.monitor(watcher)

    case Subscription.start(where, [{:pid, self()} | opts]) do
      {:ok, subscription} ->
        {:ok, %{watcher: watcher, ref: ref, subscription: subscription, waits: false, ready: false}}

      {:error, reason} ->
        {:stop, {:shutdown, reason}}
    end
  end

  @impl true
  def handle_info({:foundation_events, ref, :ready}, %{subscription: %{ref: ref}} = state),
    do: advance(%{state | ready: true})

  def handle_info({:acknowledged, ref}, %{ref: ref} = state), do: advance(%{state | waits: false})
  def handle_info({:DOWN, _, :process, pid, _}, %{watcher: pid} = state), do: {:stop, :normal, state}
  def handle_info(_other, state), do: {:noreply, state}

  defp advance(%{waits: true} = state), do: {:noreply, state}
  defp advance(%{ready: false} = state), do: {:noreply, state}

  defp advance(%{watcher: watcher, ref: ref} = state) do
    case Subscription.take(state.subscription, @batch) do
      {:ok, [], 0} ->
        {:noreply, %{state | ready: false}}

      {:ok, events, dropped} ->
        send(watcher, {:fed, ref, self(), events, dropped})
        {:noreply, %{state | waits: true}}

      # The event service of this node began anew; so does the feed, asked by its watcher.
      {:error, :not_subscribed} ->
        {:stop, {:shutdown, :not_subscribed}, state}
    end
  end

  @impl true
  def terminate(_reason, state), do: Subscription.stop(state.subscription)
end
