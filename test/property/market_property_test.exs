defmodule Foundation.Property.MarketTest do
  # The order book, through the API, against lists that are searched from end to end; auctions against all that is possible.
  use ExUnit.Case, async: false

  alias Foundation.MABEAM
  alias Foundation.MABEAM.Coordination.{Auction, Market}

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&MABEAM.stop/0)
  end

  defp holds(property, numtests) do
    assert :proper.quickcheck(property, [:quiet, {:numtests, numtests}]) == true
  end

  # -- the book ---------------------------------------------------------------------------------------------------------

  defmodule Model do
    # Waiting orders {id, agent, side, price, quantity} in the order of their arrival.
    defstruct waiting: [], next: 1

    def place(model, agent, side, type, price, quantity) do
      matches = matches(model, side, type, price)
      others = Enum.take_while(matches, fn {_, owner, _, _, _} -> owner != agent end)
      there = others |> Enum.map(&elem(&1, 4)) |> Enum.sum()

      cond do
        type == :post_only and matches != [] -> {{:error, :would_trade}, model}
        type == :fok and there < quantity -> {{:error, :unfillable}, model}
        true -> trade(model, agent, side, type, price, quantity, others, length(others) < length(matches))
      end
    end

    # The best price first, at one price the oldest.
    defp matches(model, side, type, price) do
      model.waiting
      |> Enum.filter(fn {_, _, other, at, _} ->
        other != side and (type == :market or crosses?(side, price, at))
      end)
      |> Enum.sort_by(fn {id, _, _, at, _} -> {if(side == :buy, do: at, else: -at), id} end)
    end

    defp crosses?(:buy, price, at), do: at <= price
    defp crosses?(:sell, price, at), do: at >= price

    defp trade(model, agent, side, type, price, quantity, others, own?) do
      {left, trades} =
        Enum.reduce(others, {quantity, []}, fn
          _order, {0, trades} ->
            {0, trades}

          {id, who, _, at, there}, {left, trades} ->
            {left - min(left, there), [{id, who, at, min(left, there), there <= left} | trades]}
        end)

      # Who meets itself goes no further, and does not wait either.
      rests? = type in [:limit, :post_only] and left > 0 and not own?
      taken = Map.new(trades, fn {id, _, _, quantity, _} -> {id, quantity} end)

      waiting =
        for {id, who, other, at, there} <- model.waiting,
            there > Map.get(taken, id, 0),
            do: {id, who, other, at, there - Map.get(taken, id, 0)}

      id = model.next
      waiting = if rests?, do: waiting ++ [{id, agent, side, price, left}], else: waiting

      answer = %{
        id: id,
        filled: quantity - left,
        resting: if(rests?, do: left, else: 0),
        dropped: if(rests?, do: 0, else: left),
        cancelled: [],
        trades:
          for(
            {maker, who, at, count, done} <- Enum.reverse(trades),
            do: %{order: maker, agent: who, price: at, quantity: count, done: done}
          )
      }

      {{:ok, answer}, %{model | waiting: waiting, next: id + 1}}
    end

    def cancel(model, agent, id) do
      case Enum.find(model.waiting, &match?({^id, ^agent, _, _, _}, &1)) do
        nil ->
          {{:error, :not_found}, model}

        {_, _, side, price, quantity} = order ->
          {{:ok, %{id: id, agent: agent, side: side, price: price, quantity: quantity}},
           %{model | waiting: model.waiting -- [order]}}
      end
    end

    def levels(model, side) do
      model.waiting
      |> Enum.filter(&(elem(&1, 2) == side))
      |> Enum.group_by(&elem(&1, 3), &elem(&1, 4))
      |> Enum.sort_by(&elem(&1, 0), if(side == :buy, do: :desc, else: :asc))
      |> Enum.map(fn {price, list} -> %{price: price, quantity: Enum.sum(list), orders: length(list)} end)
      |> Enum.take(100)
    end
  end

  defp agent, do: :proper_types.elements([:ann, :bob, "cec"])

  defp step do
    types = :proper_types.elements([:limit, :limit, :limit, :market, :ioc, :fok, :post_only])
    side = :proper_types.elements([:buy, :sell])
    place = [:place, agent(), side, types, :proper_types.integer(1, 12), :proper_types.integer(1, 9)]

    :proper_types.frequency([
      {6, :proper_types.tuple(place)},
      {1, :proper_types.tuple([:cancel, agent(), :proper_types.integer(1, 30)])}
    ])
  end

  test "the book does what lists do" do
    property =
      :proper.forall(:proper_types.resize(80, :proper_types.list(step())), fn steps ->
        {:ok, market} = Market.create_market(:continuous)
        model = Enum.reduce(steps, %Model{}, &compare(market, &1, &2))
        {:ok, book} = Market.order_book(market, 100)
        :ok = Market.end_market(market)
        {book.bids, book.asks} == {Model.levels(model, :buy), Model.levels(model, :sell)}
      end)

    holds(property, 300)
  end

  defp compare(market, {:place, agent, side, type, price, quantity}, model) do
    {expected, after_it} = Model.place(model, agent, side, type, price, quantity)
    order = %{agent: agent, side: side, type: type, price: price, quantity: quantity}
    assert Market.submit_order(market, order) == expected
    after_it
  end

  defp compare(market, {:cancel, agent, id}, model) do
    {expected, after_it} = Model.cancel(model, agent, id)
    assert Market.cancel_order(market, agent, id) == expected
    after_it
  end

  # -- auctions -----------------------------------------------------------------------------------------------------------

  defp bundles do
    offer =
      :proper_types.tuple([
        :proper_types.non_empty(:proper_types.list(:proper_types.elements([:x, :y, :z]))),
        :proper_types.integer(0, 20)
      ])

    :proper_types.vector(4, :proper_types.resize(4, :proper_types.non_empty(:proper_types.list(offer))))
  end

  # The best that any choice of one offer, or none, of each agent is worth.
  defp best([], _free), do: 0

  defp best([offers | rest], free) do
    with_one =
      for {items, amount} <- offers, Enum.all?(items, &(&1 in free)), do: amount + best(rest, free -- items)

    Enum.max([best(rest, free) | with_one])
  end

  test "bundles: nothing is worth more, nobody pays more than it offered, and what VCG takes is what others lose" do
    property =
      :proper.forall(bundles(), fn all ->
        all = for offers <- all, do: for({items, amount} <- offers, do: {Enum.uniq(items), amount})
        bids = Enum.zip([:a, :b, :c, :d], all)
        {value, wins} = won(Auction.determine(:combinatorial, bids, items: [:x, :y, :z]))

        value == best(all, [:x, :y, :z]) and
          Enum.all?(wins, fn win ->
            others = for {id, offers} <- bids, id != win.agent, do: offers
            win.price == best(others, [:x, :y, :z]) - (value - win.offered) and win.price <= win.offered
          end)
      end)

    holds(property, 150)
  end

  defp won({:ok, %{exact: true, value: value, wins: wins}}), do: {value, wins}
  defp won({:error, :unsold}), do: {0, []}

  test "no lie gains in a Vickrey auction, and some lies do in one of the first price" do
    gain = fn kind, value, bid, others ->
      case Auction.determine(kind, [
             {:liar, bid} | Enum.with_index(others, fn other, n -> {"other-#{n}", other} end)
           ]) do
        {:ok, %{agent: :liar, price: price}} -> value - price
        {:ok, _} -> 0
      end
    end

    numbers = :proper_types.integer(0, 30)
    given = :proper_types.tuple([numbers, numbers, :proper_types.vector(3, numbers)])

    holds(
      :proper.forall(given, fn {value, bid, others} ->
        gain.(:vickrey, value, bid, others) <= gain.(:vickrey, value, value, others)
      end),
      1_000
    )

    assert gain.(:sealed_first_price, 20, 11, [10]) > gain.(:sealed_first_price, 20, 20, [10])
  end

  test "two sides: McAfee never pays in, nobody trades at a loss, at most one efficient trade is missing" do
    side = :proper_types.resize(8, :proper_types.list(:proper_types.integer(0, 30)))

    property =
      :proper.forall(:proper_types.tuple([side, side]), fn {buying, selling} ->
        bids =
          Enum.with_index(buying, fn amount, n -> {"b#{n}", {:buy, amount}} end) ++
            Enum.with_index(selling, fn amount, n -> {"s#{n}", {:sell, amount}} end)

        efficient =
          Enum.zip(Enum.sort(buying, :desc), Enum.sort(selling))
          |> Enum.count(fn {bid, ask} -> bid >= ask end)

        case Auction.determine(:double_auction, bids) do
          {:error, :unsold} ->
            efficient <= 1

          {:ok, result} ->
            amount = fn id -> bids |> List.keyfind(id, 0) |> elem(1) |> elem(1) end

            result.surplus >= 0 and length(result.buyers) == length(result.sellers) and
              length(result.buyers) >= efficient - 1 and
              Enum.all?(result.buyers, &(amount.(&1) >= result.buy_price)) and
              Enum.all?(result.sellers, &(amount.(&1) <= result.sell_price))
        end
      end)

    holds(property, 500)
  end
end
