defmodule Foundation.MABEAM.Coordination.Market.Orders do
  @moduledoc false
  # An order book with price-time priority as a value: what the book of a continuous market (Native.market_book_place) does,
  # done the same on every node that has taken the same orders, and written into a snapshot as it is. Pure.
  #
  # Waiting orders are in two trees, the best price first and at one price the oldest first, by keys that compare so:
  # {price, id} of asks, {-price, id} of bids.

  import Foundation.MABEAM.Coordination.Market.Order, only: [is_price: 1, is_quantity: 1]

  alias Foundation.MABEAM.Coordination.Market.Order
  alias Foundation.MABEAM.Types

  defstruct tick: 1,
            most: 1_000_000,
            self_trade: :cancel_incoming,
            buy: :gb_trees.empty(),
            sell: :gb_trees.empty(),
            open: %{},
            last: 0,
            placed: 0,
            trades: 0,
            volume: 0,
            last_price: nil

  @type t :: %__MODULE__{}

  @spec new(map) :: t
  def new(%{tick: tick, max_orders: most, self_trade: rule}),
    do: %__MODULE__{tick: tick, most: most, self_trade: rule}

  @doc "As `Market.submit_order/2` of a continuous market, with the book after it."
  @spec submit(t, term) :: {:ok, map, t} | {:error, term}
  def submit(book, order) do
    with {:ok, type, price} <- Order.terms(order),
         do: checked(book, order.agent, order.side, type, price || book.tick, order.quantity)
  end

  defp checked(book, agent, side, type, price, quantity) do
    cond do
      not Types.agent_id?(agent) -> Order.invalid(%{agent: agent})
      rem(price, book.tick) != 0 -> {:error, {:invalid, :price}}
      true -> place(book, agent, side, type, price, quantity)
    end
  end

  defp place(book, agent, side, type, price, quantity) do
    limit = if type == :market, do: :any, else: key(other(side), price)
    waits = type in [:limit, :post_only]

    cond do
      waits and map_size(book.open) >= book.most -> {:error, :full}
      type == :post_only and crosses?(book, side, limit) -> {:error, :would_trade}
      type == :fok and not fills?(book, agent, side, limit, quantity) -> {:error, :unfillable}
      true -> placed(book, agent, side, limit, price, quantity, waits)
    end
  end

  defp placed(book, agent, side, limit, price, quantity, waits) do
    id = book.last + 1
    book = %{book | last: id, placed: book.placed + 1}
    {left, stopped, trades, cancelled, book} = take(book, {agent, side, limit}, quantity, [], [])
    resting = if left > 0 and waits and not stopped, do: left, else: 0
    book = if resting > 0, do: rest(book, id, agent, side, price, resting), else: book

    report = %{
      id: id,
      filled: quantity - left,
      resting: resting,
      dropped: left - resting,
      trades: Enum.reverse(trades),
      cancelled: Enum.reverse(cancelled)
    }

    {:ok, report, counted(book, trades)}
  end

  defp counted(book, []), do: book

  defp counted(book, [last | _] = trades) do
    volume = trades |> Enum.map(& &1.quantity) |> Enum.sum()

    %{
      book
      | trades: book.trades + length(trades),
        volume: book.volume + volume,
        last_price: last.price
    }
  end

  # Trades as much as it may: what is left, whether the rule on self-trades has ended the order, and the newest trade first.
  defp take(book, _taker, 0, trades, cancelled), do: {0, false, trades, cancelled, book}

  defp take(%{self_trade: rule} = book, {agent, side, limit} = taker, left, trades, cancelled) do
    case best(book, other(side), limit) do
      nil ->
        {left, false, trades, cancelled, book}

      {{_, id} = key, {^agent, _price, _quantity}} when rule != :allow ->
        own(book, taker, left, trades, cancelled, {key, id})

      {{_, id} = key, {maker, price, quantity}} ->
        traded = min(left, quantity)
        trade = %{order: id, agent: maker, price: price, quantity: traded, done: traded == quantity}
        book = reduced(book, other(side), key, {maker, price, quantity - traded})
        take(book, taker, left - traded, [trade | trades], cancelled)
    end
  end

  defp own(%{self_trade: :cancel_incoming} = book, _taker, left, trades, cancelled, _own),
    do: {left, true, trades, cancelled, book}

  defp own(book, {_agent, side, _limit} = taker, left, trades, cancelled, {key, id}) do
    book = reduced(book, other(side), key, {nil, nil, 0})
    cancelled = [id | cancelled]

    if book.self_trade == :cancel_both,
      do: {left, true, trades, cancelled, book},
      else: take(book, taker, left, trades, cancelled)
  end

  defp rest(book, id, agent, side, price, quantity) do
    key = {key(side, price), id}
    tree = :gb_trees.insert(key, {agent, price, quantity}, Map.fetch!(book, side))
    %{Map.put(book, side, tree) | open: Map.put(book.open, id, {side, key})}
  end

  defp reduced(book, side, {_, id} = key, {_agent, _price, 0}) do
    tree = :gb_trees.delete(key, Map.fetch!(book, side))
    %{Map.put(book, side, tree) | open: Map.delete(book.open, id)}
  end

  defp reduced(book, side, key, order),
    do: Map.put(book, side, :gb_trees.update(key, order, Map.fetch!(book, side)))

  # The best of a side, when it is within the limit; an atom is above every number.
  defp best(book, side, limit) do
    tree = Map.fetch!(book, side)

    with false <- :gb_trees.is_empty(tree),
         {{at, _id}, _order} = found when at <= limit <- :gb_trees.smallest(tree) do
      found
    else
      _ -> nil
    end
  end

  defp crosses?(book, side, limit), do: best(book, other(side), limit) != nil

  # Whether all of it would trade, without doing it.
  defp fills?(book, agent, side, limit, quantity) do
    book |> Map.fetch!(other(side)) |> :gb_trees.iterator() |> meets?(book.self_trade, agent, limit, quantity)
  end

  defp meets?(_iterator, _rule, _agent, _limit, left) when left <= 0, do: true

  defp meets?(iterator, rule, agent, limit, left) do
    case :gb_trees.next(iterator) do
      {{at, _id}, {^agent, _price, _quantity}, next} when at <= limit and rule != :allow ->
        rule == :cancel_resting and meets?(next, rule, agent, limit, left)

      {{at, _id}, {_maker, _price, quantity}, next} when at <= limit ->
        meets?(next, rule, agent, limit, left - quantity)

      _ ->
        false
    end
  end

  @spec cancel(t, term, term) :: {:ok, map, t} | {:error, :not_found}
  def cancel(book, agent, id) do
    with {:ok, {side, key}, {^agent, _price, _quantity} = order} <- find(book, id) do
      {:ok, shown(id, side, order), reduced(book, side, key, {nil, nil, 0})}
    else
      _ -> {:error, :not_found}
    end
  end

  @spec order(t, term) :: {:ok, map} | {:error, :not_found}
  def order(book, id) do
    with {:ok, {side, _key}, order} <- find(book, id), do: {:ok, shown(id, side, order)}
  end

  defp find(book, id) do
    case book.open do
      %{^id => {side, key}} -> {:ok, {side, key}, :gb_trees.get(key, Map.fetch!(book, side))}
      _ -> {:error, :not_found}
    end
  end

  defp shown(id, side, {agent, price, quantity}),
    do: %{id: id, agent: agent, side: side, price: price, quantity: quantity}

  @doc "As `Market.replace_order/4`, with the book after it."
  @spec replace(t, term, term, term) :: {:ok, map, t} | {:error, term}
  def replace(book, agent, id, %{price: price, quantity: quantity})
      when is_price(price) and is_quantity(quantity) do
    with {:ok, {side, key}, {^agent, old, left}} <- find(book, id),
         true <- rem(price, book.tick) == 0 || {:error, {:invalid, :price}} do
      if price == old and quantity <= left do
        kept = %{id: id, filled: 0, resting: quantity, dropped: 0, trades: [], cancelled: []}
        {:ok, kept, %{reduced(book, side, key, {agent, old, quantity}) | placed: book.placed + 1}}
      else
        book |> reduced(side, key, {nil, nil, 0}) |> place(agent, side, :limit, price, quantity)
      end
    else
      {:error, {:invalid, _}} = error -> error
      _ -> {:error, :not_found}
    end
  end

  def replace(_book, agent, _id, change) when is_map(change),
    do: change |> Map.merge(%{agent: agent, side: :buy, type: :limit}) |> Order.invalid()

  def replace(_book, _agent, _id, change), do: Order.invalid(change)

  @doc "As `Market.order_book/2`."
  @spec depth(t, pos_integer) :: {:ok, map}
  def depth(book, levels) do
    {:ok,
     %{
       bids: levels(book.buy, levels),
       asks: levels(book.sell, levels),
       orders: map_size(book.open),
       placed: book.placed,
       trades: book.trades,
       volume: book.volume,
       last_price: book.last_price
     }}
  end

  defp levels(tree, most), do: tree |> :gb_trees.iterator() |> :gb_trees.next() |> level([], most)

  defp level(:none, levels, _most), do: Enum.reverse(levels)

  defp level({_key, {_agent, price, quantity}, next}, [%{price: price} = level | levels], most) do
    level = %{level | quantity: level.quantity + quantity, orders: level.orders + 1}
    next |> :gb_trees.next() |> level([level | levels], most)
  end

  defp level(_more, levels, most) when length(levels) == most, do: Enum.reverse(levels)

  defp level({_key, {_agent, price, quantity}, next}, levels, most),
    do: next |> :gb_trees.next() |> level([%{price: price, quantity: quantity, orders: 1} | levels], most)

  defp other(:buy), do: :sell
  defp other(:sell), do: :buy

  defp key(:sell, price), do: price
  defp key(:buy, price), do: -price
end
