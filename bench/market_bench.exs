# The market's native functions from Elixir, and the order book against a GenServer with trees: mix run bench/market_bench.exs
Code.require_file("support.exs", __DIR__)

defmodule Foundation.Bench.Market.Book do
  # An order book as one would write it: a process, a tree of prices for each side, a queue for each price.
  use GenServer

  def init(nil), do: {:ok, {%{buy: :gb_trees.empty(), sell: :gb_trees.empty()}, 0}}

  def place(book, side, price, quantity), do: GenServer.call(book, {side, price, quantity})

  def handle_call({side, price, quantity}, _from, {trees, id}) do
    other = if side == :buy, do: :sell, else: :buy
    {left, tree, trades} = take(trees[other], side, price, quantity, [])
    trees = %{trees | other => tree}
    trees = if left > 0, do: Map.update!(trees, side, &push(&1, key(side, price), {id, left})), else: trees
    {:reply, {id, quantity - left, left, trades}, {trees, id + 1}}
  end

  # Best prices come first in both trees.
  defp key(:buy, price), do: -price
  defp key(:sell, price), do: price

  defp take(tree, side, price, quantity, trades) do
    other = if side == :buy, do: :sell, else: :buy

    with true <- quantity > 0 and not :gb_trees.is_empty(tree),
         {best, queue} = :gb_trees.smallest(tree),
         true <- best <= key(other, price) do
      {{:value, {maker, there}}, rest} = :queue.out(queue)
      traded = min(quantity, there)
      rest = if traded < there, do: :queue.in_r({maker, there - traded}, rest), else: rest

      tree =
        if :queue.is_empty(rest), do: :gb_trees.delete(best, tree), else: :gb_trees.update(best, rest, tree)

      take(tree, side, price, quantity - traded, [{maker, best, traded} | trades])
    else
      false -> {quantity, tree, trades}
    end
  end

  defp push(tree, key, order) do
    case :gb_trees.lookup(key, tree) do
      {:value, queue} -> :gb_trees.update(key, :queue.in(order, queue), tree)
      :none -> :gb_trees.insert(key, :queue.in(order, :queue.new()), tree)
    end
  end
end

defmodule Foundation.Bench.Market do
  alias Foundation.{Bench, Native}
  alias Foundation.Bench.Market.Book

  @limits {100_000_000, 60_000}

  def run do
    IO.puts("markets")
    order_book()
    sealed()
    votes()
    combinatorial()
    assignment()
  end

  # Prices near 1,000, both sides, so that about half of the orders trade.
  defp order(i) do
    mixed = :erlang.phash2(i, 1_000_003)
    side = if rem(mixed, 2) == 0, do: :buy, else: :sell
    {side, 990 + rem(div(mixed, 2), 21), 1 + rem(mixed, 10)}
  end

  defp order_book do
    orders = List.to_tuple(for i <- 1..100_000, do: order(i))
    {:ok, ours} = Native.market_book_new(:allow, 1, 10_000_000)
    {:ok, theirs} = GenServer.start_link(Book, nil)

    Bench.compare("order book, a limit order, one process",
      ours: fn i ->
        {side, price, quantity} = elem(orders, rem(i, 100_000))
        {:ok, _} = Native.market_book_place(ours, rem(i, 1_000), side, :limit, price, quantity)
      end,
      theirs: fn i ->
        {side, price, quantity} = elem(orders, rem(i, 100_000))
        {_, _, _, _} = Book.place(theirs, side, price, quantity)
      end,
      iterations: 50_000
    )

    {:ok, checked} = Native.market_book_new(:allow, 1, 10_000_000)
    {:ok, naive} = GenServer.start_link(Book, nil)

    for i <- 1..20_000 do
      {side, price, quantity} = order(i)

      {:ok, {_, filled, resting, 0, _, []}} =
        Native.market_book_place(checked, 1, side, :limit, price, quantity)

      {_, ^filled, ^resting, _} = Book.place(naive, side, price, quantity)
    end
  end

  defp sealed do
    bids = for bidder <- 1..10_000, do: {bidder, :erlang.phash2({:bid, bidder}, 1_000_000_000)}
    best = Enum.max_by(bids, &elem(&1, 1))

    figure("sealed bids, 10,000, second price", 20, fn ->
      {:ok, %{bidder: bidder}} = Native.market_sealed(:vickrey, 0, bids)
      ^bidder = elem(best, 0)
    end)
  end

  defp votes do
    ballots = for voter <- 1..10_000, do: {Enum.sort_by(0..9, &:erlang.phash2({voter, &1})), 1}

    figure("Schulze, 10,000 ballots, 10 options", 10, fn ->
      {:ok, _} = Native.market_vote(:schulze, 10, ballots, :lowest)
    end)
  end

  # Bundles of neighbours on a line: not the CATS distributions, which the core's own bench has.
  defp combinatorial do
    bids =
      for bidder <- 0..199 do
        first = :erlang.phash2({bidder, :first}, 50)
        size = 1 + :erlang.phash2({bidder, :size}, 8)

        {bidder, for(k <- 0..(size - 1), do: rem(first + k, 50)),
         size * (900_000 + :erlang.phash2(bidder, 300_000))}
      end

    figure("200 bids on 50 items, optimal, with VCG", 5, fn ->
      {:ok, %{exact: true}} = Native.market_combinatorial(50, bids, :xor, :vcg, @limits)
    end)
  end

  defp assignment do
    costs = for row <- 1..1_000, do: for(col <- 1..1_000, do: :erlang.phash2({row, col}, 1_000_000))

    figure("assignment 1,000 x 1,000", 3, fn ->
      {:ok, %{gap: 0}} = Native.market_assign(:hungarian, costs, @limits)
    end)
  end

  defp figure(name, runs, fun) do
    fun.()
    times = for _ <- 1..runs, do: fun |> :timer.tc() |> elem(0)
    Bench.figure(name, Bench.nanoseconds(Bench.median(times) * 1_000))
  end
end

Foundation.Bench.Market.run()
