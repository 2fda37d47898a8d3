defmodule Foundation.Property.MarketOrdersTest do
  # The book that replicas keep, against the native one: the same orders, the same answers, whatever the rule on self-trades.
  use ExUnit.Case, async: false

  alias Foundation.MABEAM
  alias Foundation.MABEAM.Coordination.Market
  alias Foundation.MABEAM.Coordination.Market.Orders

  setup do
    {:ok, _} = MABEAM.start()
    on_exit(&MABEAM.stop/0)
  end

  for rule <- [:cancel_incoming, :cancel_resting, :cancel_both, :allow] do
    test "does what the native book does with self_trade: #{inspect(rule)}" do
      for seed <- 1..12 do
        :rand.seed(:exsss, {seed, seed, seed})

        options = [
          self_trade: unquote(rule),
          tick: Enum.random([1, 1, 5]),
          max_orders: Enum.random([5, 40, 1_000])
        ]

        {:ok, native} = Market.create_market(:continuous, options)
        orders = options |> Map.new() |> Orders.new()

        Enum.reduce(1..300, orders, fn n, orders ->
          step = step(n)
          {answer, orders} = mirror(orders, step)
          expected = native(native, step)
          assert answer == expected, "seed #{seed}, step #{n}: #{inspect(step)}"
          orders
        end)

        :ok = Market.end_market(native)
      end
    end
  end

  defp step(n) do
    agent = Enum.random([:a, :b, "c", :d])
    side = Enum.random([:buy, :sell])
    price = 90 + :rand.uniform(20)
    type = Enum.random([:limit, :limit, :limit, :limit, :market, :ioc, :fok, :post_only])

    case :rand.uniform(20) do
      at when at <= 14 ->
        {:submit, %{agent: agent, side: side, price: price, quantity: :rand.uniform(20), type: type}}

      15 ->
        {:submit, %{agent: agent, side: side, price: 0, quantity: 1}}

      at when at in 16..17 ->
        {:cancel, agent, :rand.uniform(n)}

      18 ->
        {:replace, agent, :rand.uniform(n), %{price: price, quantity: :rand.uniform(20)}}

      19 ->
        {:order, :rand.uniform(n)}

      20 ->
        {:depth, :rand.uniform(5)}
    end
  end

  defp mirror(orders, {:submit, order}), do: changed(orders, Orders.submit(orders, order))
  defp mirror(orders, {:cancel, agent, id}), do: changed(orders, Orders.cancel(orders, agent, id))
  defp mirror(orders, {:replace, agent, id, to}), do: changed(orders, Orders.replace(orders, agent, id, to))
  defp mirror(orders, {:order, id}), do: {Orders.order(orders, id), orders}
  # A snapshot in between makes no difference.
  defp mirror(orders, {:depth, levels}),
    do: {Orders.depth(orders, levels), orders |> :erlang.term_to_binary() |> :erlang.binary_to_term()}

  defp changed(_before, {:ok, answer, orders}), do: {{:ok, answer}, orders}
  defp changed(orders, {:error, reason}), do: {{:error, reason}, orders}

  defp native(market, {:submit, order}), do: Market.submit_order(market, order)
  defp native(market, {:cancel, agent, id}), do: Market.cancel_order(market, agent, id)
  defp native(market, {:replace, agent, id, to}), do: Market.replace_order(market, agent, id, to)
  defp native(market, {:order, id}), do: Market.order(market, id)
  defp native(market, {:depth, levels}), do: Market.order_book(market, levels)
end
