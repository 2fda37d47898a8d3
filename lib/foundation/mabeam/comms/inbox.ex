defmodule Foundation.MABEAM.Comms.Inbox do
  @moduledoc false
  # Takes what other nodes have for this node's agents and puts it into their mailboxes, within their bounds. Answers go
  # from the agents to who asked, not through here.

  use GenServer

  alias Foundation.MABEAM.AgentRegistry.Table
  alias Foundation.MABEAM.Comms.{Delivery, Topics}

  def start_link(_opts), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(nil), do: {:ok, nil}

  @impl true
  def handle_call({:ask, id, kind, payload, left, correlation, chain, carrier}, from, state) do
    deliver(id, from, kind, payload, {Delivery.deadline(left), correlation, chain, carrier})
    {:noreply, state}
  end

  def handle_call({:tell, ids, event, chain, carrier}, _from, state),
    do: {:reply, tell(ids, event, {:infinity, nil, chain, carrier}), state}

  def handle_call(_other, _from, state), do: {:reply, {:error, :unknown_request}, state}

  @impl true
  def handle_cast(_other, state), do: {:noreply, state}

  @impl true
  def handle_info({:asks, pid, tag, asks, left, carrier}, state)
      when is_pid(pid) and is_list(asks) and (left == :infinity or (is_integer(left) and left >= 0)) do
    unless List.improper?(asks) do
      meta = {Delivery.deadline(left), nil, [], carrier}
      for {id, kind, payload} <- asks, do: deliver(id, {pid, {tag, id}}, kind, payload, meta)
    end

    {:noreply, state}
  end

  def handle_info({:publish, topic, event, carrier}, state) do
    tell(Topics.listeners(topic), event, {:infinity, nil, [], carrier})
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp deliver(id, from, kind, payload, meta) do
    with {:ok, pid, gate, limit} <- Table.live(id),
         :ok <- Delivery.ask(pid, gate, limit, from, kind, payload, meta) do
      :ok
    else
      {:error, reason} -> Delivery.reply(from, {:answer, {:error, reason}, nil})
    end
  end

  @doc "Tells agents of this node; those that could not be told, each with the reason."
  @spec tell([term], term, Delivery.meta()) :: %{term => atom}
  def tell(ids, event, meta) do
    for id <- ids, {:error, reason} <- [tell_one(id, event, meta)], into: %{}, do: {id, reason}
  end

  defp tell_one(id, event, meta) do
    with {:ok, pid, gate, limit} <- Table.live(id), do: Delivery.tell(pid, gate, limit, event, meta)
  end
end
