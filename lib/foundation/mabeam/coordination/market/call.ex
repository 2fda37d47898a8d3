defmodule Foundation.MABEAM.Coordination.Market.Call do
  @moduledoc false
  # A market that collects orders and clears them all at once at one price. What is not filled waits for the next time.

  import Foundation.MABEAM.Coordination.Market.Order, only: [is_price: 1, is_quantity: 1, is_side: 1]

  alias Foundation.MABEAM.Coordination.Market.Order
  alias Foundation.MABEAM.Types
  alias Foundation.Native

  defstruct orders: %{}, next: 1, most: 1_000_000, last: nil, volume: 0

  @type t :: %__MODULE__{}

  @spec submit(t, term) :: {:ok, map, t} | {:error, term}
  def submit(%{most: most, orders: orders}, _order) when map_size(orders) >= most, do: {:error, :full}

  def submit(call, %{agent: agent, side: side, price: price, quantity: quantity} = order)
      when is_side(side) and is_price(price) and is_quantity(quantity) do
    cond do
      not Types.agent_id?(agent) -> Order.invalid(order)
      Map.get(order, :type, :limit) != :limit -> {:error, {:unsupported, order.type}}
      true -> {:ok, %{id: call.next}, added(call, {agent, side, price, quantity})}
    end
  end

  def submit(_call, order), do: Order.invalid(order)

  defp added(call, order), do: %{call | orders: Map.put(call.orders, call.next, order), next: call.next + 1}

  @spec cancel(t, term, term) :: {:ok, map, t} | {:error, :not_found}
  def cancel(call, agent, id) do
    case call.orders do
      %{^id => {^agent, _, _, _} = order} ->
        {:ok, shown(id, order), %{call | orders: Map.delete(call.orders, id)}}

      _ ->
        {:error, :not_found}
    end
  end

  @spec order(t, term) :: {:ok, map} | {:error, :not_found}
  def order(call, id) do
    case call.orders do
      %{^id => order} -> {:ok, shown(id, order)}
      _ -> {:error, :not_found}
    end
  end

  defp shown(id, {agent, side, price, quantity}),
    do: %{id: id, agent: agent, side: side, price: price, quantity: quantity}

  @doc "Clears; of equal orders the one that came first is filled first."
  @spec clear(t) :: {:ok, map, t} | {:error, term}
  def clear(call) do
    orders = Enum.sort(call.orders)

    given =
      for {{_id, {_agent, side, price, quantity}}, n} <- Enum.with_index(orders),
          do: {n, side, price, quantity}

    with {:ok, cleared} <- Native.market_call(given, call.last) do
      ids = List.to_tuple(orders)

      fills =
        for {place, _owner, quantity} <- cleared.fills do
          {id, {agent, side, _price, _quantity}} = elem(ids, place)
          %{order: id, agent: agent, side: side, quantity: quantity}
        end

      result = %{price: cleared.price, volume: cleared.volume, imbalance: cleared.imbalance, fills: fills}
      {:ok, result, filled(call, fills, cleared)}
    end
  end

  defp filled(call, fills, cleared) do
    orders =
      Enum.reduce(fills, call.orders, fn %{order: id, quantity: quantity}, orders ->
        case orders do
          %{^id => {_agent, _side, _price, ^quantity}} -> Map.delete(orders, id)
          %{^id => {agent, side, price, whole}} -> %{orders | id => {agent, side, price, whole - quantity}}
        end
      end)

    %{call | orders: orders, last: cleared.price || call.last, volume: call.volume + cleared.volume}
  end

  @spec depth(t, non_neg_integer) :: {:ok, map}
  def depth(call, levels) do
    orders = Map.values(call.orders)
    bids = for({_agent, :buy, price, quantity} <- orders, do: {price, quantity}) |> levels(&>=/2, levels)
    asks = for({_agent, :sell, price, quantity} <- orders, do: {price, quantity}) |> levels(&<=/2, levels)
    sums = %{placed: call.next - 1, volume: call.volume, last_price: call.last}
    {:ok, Map.merge(sums, %{bids: bids, asks: asks, orders: map_size(call.orders)})}
  end

  defp levels(orders, best_first, count) do
    orders
    |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
    |> Enum.sort_by(&elem(&1, 0), best_first)
    |> Enum.take(count)
    |> Enum.map(fn {price, list} -> %{price: price, quantity: Enum.sum(list), orders: length(list)} end)
  end
end
