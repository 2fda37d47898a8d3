defmodule Foundation.Events.Watcher do
  @moduledoc false
  # A subscription to the events of all nodes: keeps a feed on each, and hands what they send to the handler.

  use GenServer, restart: :temporary

  alias Foundation.Events.{Causality, Feed}

  require Logger

  @retry 1_000
  @supervisor Foundation.ProcessSupervisor

  def start_link(arguments), do: GenServer.start_link(__MODULE__, arguments)

  @doc "Starts one; what this node's store refuses is refused."
  @spec start(pid, pid | (Foundation.Types.Event.t() -> term), term, keyword) :: {:ok, pid} | {:error, term}
  def start(owner, handler, where, opts) do
    with {:ok, watcher} <-
           DynamicSupervisor.start_child(@supervisor, {__MODULE__, {owner, handler, where, opts}}),
         :ok <- GenServer.call(watcher, :begin),
         do: {:ok, watcher}
  catch
    :exit, _ -> {:error, :not_running}
  end

  @impl true
  def init({owner, handler, where, opts}) do
    Process.monitor(owner)
    :ok = :net_kernel.monitor_nodes(true)
    {:ok, %{owner: owner, handler: handler, where: where, opts: opts, feeds: %{}, ref: make_ref(), lost: 0}}
  end

  # What this node refuses, all would: the caller hears of it.
  @impl true
  def handle_call(:begin, _from, state) do
    case feed(state, node()) do
      {:ok, state} -> {:reply, :ok, state, {:continue, :others}}
      {:error, reason} -> {:stop, :shutdown, {:error, reason}, state}
    end
  end

  def handle_call(:status, _from, state),
    do: {:reply, %{nodes: Enum.sort(Map.values(state.feeds)), dropped: state.lost}, state}

  @impl true
  def handle_continue(:others, state), do: {:noreply, Enum.reduce(Node.list(), state, &try_feed/2)}

  @impl true
  def handle_info({:fed, ref, feed, events, dropped}, %{ref: ref} = state) do
    for event <- events do
      Causality.observe(event)
      handle(state.handler, event)
    end

    send(feed, {:acknowledged, ref})
    {:noreply, %{state | lost: state.lost + dropped}}
  end

  def handle_info({:nodeup, node}, state), do: {:noreply, try_feed(node, state)}
  def handle_info({:nodedown, _node}, state), do: {:noreply, state}
  def handle_info({:again, node}, state), do: {:noreply, again(node, state)}

  def handle_info({:DOWN, _, :process, pid, _}, %{owner: pid} = state), do: {:stop, :shutdown, state}

  def handle_info({:DOWN, _, :process, pid, _}, state) do
    {node, feeds} = Map.pop(state.feeds, pid)
    if node && (node == node() or node in Node.list()), do: Process.send_after(self(), {:again, node}, @retry)
    {:noreply, %{state | feeds: feeds}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp again(node, state),
    do: if(node == node() or node in Node.list(), do: try_feed(node, state), else: state)

  defp try_feed(node, state) do
    if node in Map.values(state.feeds) do
      state
    else
      case feed(state, node) do
        {:ok, state} ->
          state

        # A node without this library.
        {:error, {:exception, :undef, _}} ->
          state

        # One whose application is still starting, or begins anew.
        {:error, _reason} ->
          Process.send_after(self(), {:again, node}, @retry)
          state
      end
    end
  end

  defp feed(state, node) do
    arguments = [self(), state.ref, state.where, state.opts]

    with {:ok, feed} <- start_there(node, arguments) do
      Process.monitor(feed)
      {:ok, put_in(state.feeds[feed], node)}
    end
  end

  defp start_there(node, arguments) when node == node(), do: apply(Feed, :start, arguments) |> plain()

  defp start_there(node, arguments) do
    node |> :erpc.call(Feed, :start, arguments, 5_000) |> plain()
  catch
    _, reason -> {:error, reason}
  end

  defp plain({:error, {:shutdown, reason}}), do: {:error, reason}
  defp plain(answer), do: answer

  defp handle(pid, event) when is_pid(pid), do: send(pid, {:foundation_event, event})

  defp handle(function, event) do
    function.(event)
  rescue
    error ->
      Logger.error(
        "A handler of cluster-wide events failed: " <> Exception.format(:error, error, __STACKTRACE__)
      )
  catch
    kind, reason ->
      Logger.error(
        "A handler of cluster-wide events failed: " <> Exception.format(kind, reason, __STACKTRACE__)
      )
  end
end
