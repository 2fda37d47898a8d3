defmodule Foundation.MABEAM.Coordination.Market.Book do
  @moduledoc false
  # Orders on their way to the book of a continuous market, without a process in between: agents are numbers in the book,
  # which a table of the market's process knows, and sums are counters that all may add to.

  import Foundation.MABEAM.Coordination.Market.Order, only: [is_price: 1, is_quantity: 1]

  alias Foundation.MABEAM.Coordination.Market.{Order, Server}
  alias Foundation.MABEAM.Types
  alias Foundation.Native

  # Places of the counters.
  @orders 1
  @trades 2
  @volume 3
  @last 4
  @listening 5

  def counters, do: :atomics.new(@listening, signed: false)
  def listening(counters, count), do: :atomics.put(counters, @listening, count)

  @spec submit(map, term) :: {:ok, map} | {:error, term}
  def submit(market, order) do
    with {:ok, type, price} <- Order.terms(order),
         do: place(market, order.agent, order.side, type, price || market.tick, order.quantity)
  end

  defp place(market, agent, side, type, price, quantity) do
    with {:ok, owner} <- owner(market, agent) do
      answer =
        case Native.market_book_place(market.book, owner, side, type, price, quantity) do
          :dirty -> Native.market_book_place_large(market.book, owner, side, type, price, quantity)
          answer -> answer
        end

      with {:ok, placed} <- answer, do: {:ok, told(market, agent, side, placed)}
    end
  end

  defp told(market, agent, side, {id, filled, resting, dropped, trades, cancelled}) do
    :atomics.add(market.counters, @orders, 1)
    trades = if trades == [], do: [], else: traded(market, {id, agent, side}, trades)
    %{id: id, filled: filled, resting: resting, dropped: dropped, trades: trades, cancelled: cancelled}
  end

  defp traded(market, {id, agent, side}, trades) do
    {named, count, volume, last} = named(trades, market.names, [], 0, 0, 0)
    :atomics.add(market.counters, @trades, count)
    :atomics.add(market.counters, @volume, volume)
    :atomics.put(market.counters, @last, last)

    if :atomics.get(market.counters, @listening) > 0 do
      message = {:market, market.id, {:traded, %{order: id, agent: agent, side: side, trades: named}}}
      for pid <- Server.listeners(market.names), do: send(pid, message)
    end

    named
  end

  defp named([], _names, done, count, volume, last), do: {Enum.reverse(done), count, volume, last}

  defp named([{maker, owner, price, quantity, done?} | rest], names, done, count, volume, _last) do
    [{_owner, agent}] = :ets.lookup(names, owner)
    trade = %{order: maker, agent: agent, price: price, quantity: quantity, done: done?}
    named(rest, names, [trade | done], count + 1, volume + quantity, price)
  end

  @doc "The number of an agent in the book."
  @spec owner(map, term) :: {:ok, non_neg_integer} | {:error, term}
  def owner(%{names: names} = market, agent) when is_atom(agent) or is_binary(agent) do
    case :ets.lookup(names, agent) do
      [{_agent, owner}] -> {:ok, owner}
      [] -> if Types.agent_id?(agent), do: Server.enter(market, agent), else: Order.invalid(%{agent: agent})
    end
  rescue
    # The table ends with the market.
    ArgumentError -> {:error, :not_found}
  end

  def owner(_market, agent), do: Order.invalid(%{agent: agent})

  @spec cancel(map, term, pos_integer) :: {:ok, map} | {:error, term}
  def cancel(market, agent, id) do
    with {:ok, owner} <- owner(market, agent),
         {:ok, resting} <- patient(fn -> Native.market_book_cancel(market.book, id, owner) end),
         do: {:ok, shown(market, resting)}
  end

  @spec replace(map, term, pos_integer, map) :: {:ok, map} | {:error, term}
  def replace(market, agent, id, %{price: price, quantity: quantity})
      when is_price(price) and is_quantity(quantity) do
    with {:ok, owner} <- owner(market, agent),
         {:ok, {_id, _owner, side, _price, _quantity}} <-
           patient(fn -> Native.market_book_order(market.book, id) end),
         {:ok, placed} <- Native.market_book_replace(market.book, id, owner, price, quantity),
         do: {:ok, told(market, agent, side, placed)}
  end

  def replace(_market, agent, _id, change) when is_map(change),
    do: change |> Map.merge(%{agent: agent, side: :buy, type: :limit}) |> Order.invalid()

  def replace(_market, _agent, _id, change), do: Order.invalid(change)

  @spec order(map, pos_integer) :: {:ok, map} | {:error, term}
  def order(market, id) do
    with {:ok, resting} <- patient(fn -> Native.market_book_order(market.book, id) end),
         do: {:ok, shown(market, resting)}
  end

  @spec depth(map, non_neg_integer) :: {:ok, map} | {:error, term}
  def depth(market, levels) do
    with {:ok, depth} <- patient(fn -> Native.market_book_depth(market.book, levels) end) do
      sums = %{
        placed: :atomics.get(market.counters, @orders),
        trades: :atomics.get(market.counters, @trades),
        volume: :atomics.get(market.counters, @volume),
        last_price: with(0 <- :atomics.get(market.counters, @last), do: nil)
      }

      levels = fn side ->
        for {price, quantity, orders} <- side, do: %{price: price, quantity: quantity, orders: orders}
      end

      {:ok, Map.merge(sums, %{bids: levels.(depth.bids), asks: levels.(depth.asks), orders: depth.orders})}
    end
  end

  defp shown(market, {id, owner, side, price, quantity}) do
    [{_owner, agent}] = :ets.lookup(market.names, owner)
    %{id: id, agent: agent, side: side, price: price, quantity: quantity}
  end

  # Somebody has the book: for some µs, or for the time of a very large order.
  defp patient(ask, attempts \\ 1_000)
  defp patient(_ask, 0), do: {:error, :busy}

  defp patient(ask, attempts) do
    case ask.() do
      {:error, :busy} ->
        :erlang.yield()
        patient(ask, attempts - 1)

      answer ->
        answer
    end
  end
end
