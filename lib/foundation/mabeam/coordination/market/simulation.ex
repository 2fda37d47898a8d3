defmodule Foundation.MABEAM.Coordination.Market.Simulation do
  @moduledoc false
  # Traders with values and strategies, one offer after the other, in a real book. All chance comes from the seed.

  import Foundation.MABEAM.Coordination.Market.Order, only: [is_price: 1]

  alias Foundation.MABEAM.Types
  alias Foundation.MABEAM.Types.Fields
  alias Foundation.Native

  defmodule Options do
    @moduledoc false
    defstruct [:seed, :steps, :range]
  end

  @strategies [:zero_intelligence, :unconstrained, :truthful]

  @spec run([map], keyword) :: {:ok, map} | {:error, {:invalid, map}}
  def run(traders, opts) do
    with {:ok, opts} <- Fields.build(Options, opts, rules()), :ok <- check(traders) do
      {:ok, book} = Native.market_book_new(:cancel_resting, 1, length(traders) + 1)
      values = Enum.flat_map(traders, & &1.values)

      state = %{
        book: book,
        traders: for({trader, n} <- Enum.with_index(traders), into: %{}, do: {n, begin(trader)}),
        active: for({%{values: [_ | _]}, n} <- Enum.with_index(traders), do: n),
        range: opts.range || {1, 2 * Enum.max(values, fn -> 1 end)},
        random: :rand.seed_s(:exsss, opts.seed),
        trades: [],
        last: nil,
        orders: 0,
        failures: 0
      }

      state = step(state, 1, opts.steps || 100 * length(values))
      {:ok, report(state, traders)}
    end
  end

  defp begin(trader),
    do:
      Map.merge(Map.take(trader, [:agent, :side, :values, :strategy]), %{waiting: nil, traded: 0, surplus: 0})

  defp step(%{active: []} = state, _step, _steps), do: state
  defp step(state, step, steps) when step > steps, do: state

  defp step(state, step, steps) do
    {place, random} = :rand.uniform_s(length(state.active), state.random)
    n = Enum.at(state.active, place - 1)
    trader = state.traders[n]
    {price, random} = offer(trader, view(trader, state, step), state.range, random)
    %{state | random: random} |> offered(n, trader, price, step) |> step(step + 1, steps)
  end

  defp offered(state, _n, _trader, :pass, _step), do: state
  defp offered(state, _n, _trader, :failed, _step), do: %{state | failures: state.failures + 1}

  defp offered(state, n, trader, price, step) do
    if trader.waiting, do: {:ok, _} = cancel(state.book, trader.waiting, n)
    {:ok, {id, _filled, resting, _dropped, trades, _cancelled}} = place(state.book, n, trader.side, price)
    waiting = if resting > 0, do: id

    state = %{
      state
      | orders: state.orders + 1,
        traders: Map.put(state.traders, n, %{trader | waiting: waiting})
    }

    case trades do
      [] -> state
      [{_maker, other, at, 1, true}] -> state |> done(n, at) |> done(other, at) |> told(n, other, at, step)
    end
  end

  # The book is this process's own: it is never busy.
  defp place(book, n, side, price) do
    case Native.market_book_place(book, n, side, :limit, price, 1) do
      :dirty -> Native.market_book_place_large(book, n, side, :limit, price, 1)
      placed -> placed
    end
  end

  defp cancel(book, id, n) do
    with {:error, :busy} <- Native.market_book_cancel(book, id, n), do: cancel(book, id, n)
  end

  defp done(state, n, price) do
    %{values: [value | rest], side: side} = trader = state.traders[n]
    gain = if side == :buy, do: value - price, else: price - value
    trader = %{trader | values: rest, waiting: nil, traded: trader.traded + 1, surplus: trader.surplus + gain}
    active = if rest == [], do: List.delete(state.active, n), else: state.active
    %{state | traders: Map.put(state.traders, n, trader), active: active}
  end

  defp told(state, n, other, price, step) do
    {buyer, seller} = if state.traders[n].side == :buy, do: {n, other}, else: {other, n}

    trade = %{
      step: step,
      buyer: state.traders[buyer].agent,
      seller: state.traders[seller].agent,
      price: price
    }

    %{state | trades: [trade | state.trades], last: price}
  end

  defp view(%{strategy: known}, _state, _step) when known in @strategies, do: nil

  defp view(trader, state, step) do
    {:ok, %{bids: bids, asks: asks}} = depth(state.book)
    best = fn levels -> with [{price, _quantity, _orders} | _] <- levels, do: price, else: ([] -> nil) end

    trader
    |> Map.take([:agent, :side])
    |> Map.merge(%{
      value: hd(trader.values),
      left: length(trader.values),
      best_bid: best.(bids),
      best_ask: best.(asks),
      last_price: state.last,
      step: step
    })
  end

  defp depth(book) do
    with {:error, :busy} <- Native.market_book_depth(book, 1), do: depth(book)
  end

  defp offer(%{strategy: :truthful} = trader, _view, _range, random), do: {max(hd(trader.values), 1), random}
  defp offer(%{strategy: :unconstrained}, _view, {low, high}, random), do: between(low, high, random)

  defp offer(%{strategy: :zero_intelligence, side: side, values: [value | _]}, _view, {low, high}, random) do
    case side do
      :buy when value < low -> {:pass, random}
      :buy -> between(low, min(value, high), random)
      :sell when value > high -> {:pass, random}
      :sell -> between(max(value, low), high, random)
    end
  end

  defp offer(%{strategy: strategy}, view, _range, random) do
    case ask(strategy, view, random) do
      {:pass, random} when is_tuple(random) -> {:pass, random}
      {price, random} when is_price(price) and is_tuple(random) -> {price, random}
      _other -> {:failed, random}
    end
  catch
    _kind, _reason -> {:failed, random}
  end

  defp ask({module, function}, view, random), do: apply(module, function, [view, random])
  defp ask(function, view, random), do: function.(view, random)

  defp between(low, high, random) do
    {n, random} = :rand.uniform_s(high - low + 1, random)
    {low + n - 1, random}
  end

  defp report(state, traders) do
    surplus = state.traders |> Map.values() |> Enum.map(& &1.surplus) |> Enum.sum()
    most = most(traders)

    %{
      trades: Enum.reverse(state.trades),
      orders: state.orders,
      failures: state.failures,
      surplus: surplus,
      max_surplus: most,
      efficiency: if(most == 0, do: 1.0, else: surplus / most),
      traders:
        for(
          {_n, trader} <- state.traders,
          into: %{},
          do: {trader.agent, Map.take(trader, [:traded, :surplus])}
        )
    }
  end

  # What the units that are worth most would gain with those that cost least.
  defp most(traders) do
    bought = for(%{side: :buy, values: values} <- traders, value <- values, do: value) |> Enum.sort(:desc)
    sold = for(%{side: :sell, values: values} <- traders, value <- values, do: value) |> Enum.sort()
    bought |> Enum.zip(sold) |> Enum.map(fn {value, cost} -> max(value - cost, 0) end) |> Enum.sum()
  end

  defp check(traders) do
    bad = Enum.find(traders, &(not trader?(&1)))
    ids = for %{agent: id} <- traders, do: id

    cond do
      bad != nil -> Fields.invalid(:traders, bad, "maps of agent:, side:, values: and strategy:")
      Enum.uniq(ids) != ids -> Fields.invalid(:traders, ids -- Enum.uniq(ids), "each agent once")
      true -> :ok
    end
  end

  defp trader?(%{agent: id, side: side, values: values, strategy: strategy}) do
    Types.agent_id?(id) and side in [:buy, :sell] and is_list(values) and not List.improper?(values) and
      Enum.all?(values, &value?/1) and strategy?(strategy)
  end

  defp trader?(_other), do: false

  defp value?(value), do: is_integer(value) and value >= 0 and value <= 100_000_000_000_000

  defp strategy?(strategy) when strategy in @strategies or is_function(strategy, 2), do: true
  defp strategy?({module, function}), do: is_atom(module) and is_atom(function)
  defp strategy?(_other), do: false

  defp rules do
    [
      {:seed, 0, &is_integer/1, "a whole number"},
      {:steps, nil, &(&1 == nil or (is_integer(&1) and &1 in 1..1_000_000_000)), "a whole number from 1"},
      {:range, nil, &(&1 == nil or range?(&1)), "{lowest, highest} price"}
    ]
  end

  defp range?({low, high}), do: is_price(low) and is_price(high) and low <= high
  defp range?(_other), do: false
end
