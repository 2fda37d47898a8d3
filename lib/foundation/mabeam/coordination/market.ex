defmodule Foundation.MABEAM.Coordination.Market do
  @moduledoc """
  Lets agents trade: order books, calls, bets on what will come true, and prices at which an economy clears.

      {:ok, market} = Market.create_market(:continuous)
      {:ok, %{resting: 5}} = Market.submit_order(market, %{agent: :ann, side: :sell, price: 2_000_000, quantity: 5})
      {:ok, %{filled: 3, trades: [%{agent: :ann, price: 2_000_000, quantity: 3}]}} =
        Market.submit_order(market, %{agent: :bob, side: :buy, price: 2_500_000, quantity: 3})

  | kind | |
  |---|---|
  | `:continuous` | a continuous double auction: an order trades at once with the best-priced waiting ones, at one price the oldest first, at the price of the one that waited |
  | `:call` | orders are collected; `clear/1` fills them all at the one price with the largest volume |
  | `:prediction` | shares of outcomes, each worth 1 unit if it comes true, sold and bought by a market maker: Hanson, Combinatorial Information Market Design, 2003 |

  Prices are whole numbers of millionths from 1, quantities whole numbers from 1. What is no order is refused
  with `{:error, {:invalid, details}}` and changes nothing.

  A market is a value for `submit_order/3` and the others, on the node where it was created; it ends with
  `end_market/1` or with MABEAM there. Orders of a continuous one go straight from the caller to the book:
  from several processes they come in some order, one after the other. Trades of `:continuous` and `:call`
  markets are told and not paid: see `Foundation.MABEAM.Economics.settle/3`.

  ## Markets that outlive their node

  With `durable: true` a continuous or call market is kept by the replicas (`mabeam: [replicas: nodes]`, see
  `Foundation.MABEAM.Economics`): each order is agreed on before it is answered, all replicas have the same book, and
  the market goes on, for all nodes of the cluster, while more than half of them live. Its value is good on any node, and
  `find_market/1` makes it of the id. An order with `id:` counts once, however often it is sent. Nobody can listen to
  such a market. It ends with `end_market/1` alone. The rules are the same, and so are answers; errors besides:
  `:unknown` (it may have been done, or may yet be), `:no_leader`, `:busy`, `:unreachable`, `:id_reused`,
  `:no_replicas`.

  Properties. Continuous: not truthful; efficient in the long run, even with traders that act at random within
  their means (Gode and Sunder 1993; `simulate/2`). Call: not truthful; efficient at true orders. Prediction:
  truthful for who trades once (a proper scoring rule); the maker's loss is bounded by liquidity ·
  ln(outcomes). Prices of `find_equilibrium/2` are efficient (first welfare theorem), of truth-tellers. One
  call an order; one of a durable market a round to a majority of the replicas.

  **Scheduling**: orders, `cancel_order/3`, `order/2` and `order_book/2` of a continuous market on a normal
  scheduler, below 100 µs (an order that meets more than 256 others, or finds the book busy for 20 µs, on a
  dirty CPU one); everything else on a dirty CPU scheduler; durable
  markets as `Foundation.Distributed.Consensus`.
  """

  alias Foundation.MABEAM.Coordination.Market.{
    Book,
    Call,
    Durable,
    Equilibrium,
    Order,
    Prediction,
    Server,
    Simulation
  }

  alias Foundation.MABEAM.Types
  alias Foundation.MABEAM.Types.Fields
  alias Foundation.{Native, Utils}

  @enforce_keys [:id, :kind]
  defstruct [:id, :kind, :pid, :book, :names, :counters, tick: 1, durable: false]

  @typedoc "A market; what is in it is its own affair."
  @type t :: %__MODULE__{id: String.t(), kind: :continuous | :call | :prediction}

  @typedoc "Details of what is wrong: `%{field: _, value: _, expected: _}`."
  @type invalid :: {:invalid, map}

  @doc """
  Opens a market: `{:ok, market}`.

  Options of `:continuous`: `tick:` of which prices are multiples (1); `max_orders:` that wait at once
  (1,000,000); `self_trade:` when an order meets one of the same agent: `:cancel_incoming` (the rest of the
  new one is dropped), `:cancel_resting`, `:cancel_both`, `:allow`. Of `:call`: `max_orders:` (1,000,000). Of
  both: `durable:` (false), see above. Of
  `:prediction`: `outcomes:` 2 to 10,000 different terms; `liquidity:` b, millionths above 0: the larger, the
  less a trade moves prices; `to:` the account that pays and is paid (none: nothing is paid). It needs b ·
  ln(outcomes) to pay whatever comes true.

  Errors: `{:invalid, details}`, `:busy` (10,000 auctions and markets), `:not_running`; of a durable one those above. O(1).
  """
  @spec create_market(:continuous | :call | :prediction, keyword) ::
          {:ok, t} | {:error, invalid | :busy | :not_running | term}
  def create_market(kind, opts \\ [])

  def create_market(:continuous, opts) do
    with {:ok, %{durable: false} = opts} <- Fields.build(__MODULE__.Continuous, opts, continuous()),
         {:ok, book} <- Native.market_book_new(opts.self_trade, opts.tick, opts.max_orders) do
      start(
        %__MODULE__{id: id(), kind: :continuous, book: book, counters: Book.counters(), tick: opts.tick},
        nil
      )
    else
      {:ok, opts} -> durable(:continuous, opts)
      error -> error
    end
  end

  def create_market(:call, opts) do
    case Fields.build(__MODULE__.Continuous, opts, [max_orders(), durable()]) do
      {:ok, %{durable: false} = opts} ->
        start(%__MODULE__{id: id(), kind: :call}, %Call{most: opts.max_orders})

      {:ok, opts} ->
        durable(:call, opts)

      error ->
        error
    end
  end

  def create_market(:prediction, opts) do
    with {:ok, opts} <- Fields.build(__MODULE__.Bets, opts, prediction()),
         {:ok, inside} <- Prediction.new(opts),
         do: start(%__MODULE__{id: id(), kind: :prediction}, inside)
  end

  def create_market(kind, _opts),
    do: raise(ArgumentError, "kind must be :continuous, :call or :prediction, got: #{inspect(kind)}")

  defp id, do: Utils.generate_correlation_id()

  defp durable(kind, opts) do
    market = %__MODULE__{id: id(), kind: kind, durable: true}
    with :ok <- Durable.create(market.id, kind, opts), do: {:ok, market}
  end

  defp start(market, inside) do
    with {:ok, pid} <- __MODULE__.Supervisor.start({Server, {market, inside}}),
         do: GenServer.call(pid, :market)
  end

  defmodule Continuous do
    @moduledoc false
    defstruct [:tick, :max_orders, :self_trade, :durable]
  end

  defmodule Bets do
    @moduledoc false
    defstruct [:outcomes, :liquidity, :to]
  end

  defp continuous do
    rules = [:cancel_incoming, :cancel_resting, :cancel_both, :allow]

    [
      {:tick, 1, &whole?(&1, 1_000_000_000_000_000), "a whole number of millionths from 1"},
      {:self_trade, :cancel_incoming, &(&1 in rules), "one of #{inspect(rules)}"},
      max_orders(),
      durable()
    ]
  end

  defp durable, do: {:durable, false, &is_boolean/1, "true or false"}

  defp max_orders,
    do: {:max_orders, 1_000_000, &whole?(&1, 10_000_000), "a whole number from 1 to 10,000,000"}

  defp prediction do
    [
      {:outcomes, :required, &outcomes?/1, "a list of 2 to 10,000 different terms"},
      {:liquidity, :required, &whole?(&1, 1_000_000_000_000_000),
       "a whole number of millionths from 1 to 10^15"},
      {:to, nil, &(&1 == nil or (Types.agent_id?(&1) and &1 not in [:bank, :all])), "the id of an account"}
    ]
  end

  defp whole?(number, most), do: is_integer(number) and number in 1..most

  defp outcomes?(list) do
    is_list(list) and not List.improper?(list) and length(list) in 2..10_000 and
      MapSet.size(MapSet.new(list)) == length(list)
  end

  @doc "The durable market with that id: `{:ok, market}`. Errors: `:not_found`, and those of durable markets. A round to the leader."
  @spec find_market(String.t()) :: {:ok, t} | {:error, term}
  def find_market(id) when is_binary(id) do
    with {:ok, kind} <- Durable.kind(id), do: {:ok, %__MODULE__{id: id, kind: kind, durable: true}}
  end

  @doc "Ends a market: what is in it is gone. `:ok` also when it has ended. Errors: of durable markets. O(orders)."
  @spec end_market(t) :: :ok | {:error, term}
  def end_market(%__MODULE__{durable: true} = market), do: Durable.ask(market, :end)

  def end_market(%__MODULE__{} = market) do
    _ = Server.ask(market, :end)
    :ok
  end

  @doc """
  Places an order.

  Continuous: `%{agent:, side: :buy | :sell, price:, quantity:}`, and `type:` `:limit` (what is not filled
  waits), `:market` (any price, needs no `price:`; the rest is dropped), `:ioc` (the rest is dropped), `:fok`
  (all or nothing), `:post_only` (never trades at once):
  `{:ok, %{id:, filled:, resting:, dropped:, trades: [%{order:, agent:, price:, quantity:, done: boolean}], cancelled: [id]}}`.
  A trade has the waiting order, whose it is, and whether it is used up; `cancelled` were dropped by
  `self_trade:`. Errors: `:unfillable` (`:fok`), `:would_trade` (`:post_only`), `:full`, `{:invalid, :price}`
  (no multiple of the tick), `:too_many_agents` (1,000,000).

  Call: the same without `type:`, `{:ok, %{id: id}}`. Errors: `:full`, `{:unsupported, type}`.

  Prediction: `%{agent:, outcome:, shares:}` in millionths of a share, below 0 to sell some that the agent
  has, and `limit:` the most that it may cost:
  `{:ok, %{cost:, shares: what it has now, prices: %{outcome => float}}}`. Errors: `:no_such_outcome`,
  `:not_enough_shares`, `:over_limit`, `:closed`, `:over_balance`, `:no_account`, `{:invalid, :change}` (so
  many that a price would be 1).

  Options: `id:` of an order of a durable market, any term: under it, it counts once.

  Errors of all: `{:invalid, details}`, `:not_found` (it has ended), `:timeout`; of durable ones those above. O(log
  prices + trades); prediction O(outcomes).
  """
  @spec submit_order(t, map, keyword) :: {:ok, map} | {:error, term}
  def submit_order(market, order, opts \\ [])

  def submit_order(%__MODULE__{durable: true} = market, order, opts),
    do: Durable.ask(market, {:submit, order}, opts[:id])

  def submit_order(%__MODULE__{}, _order, [_ | _] = opts),
    do: raise(ArgumentError, "only orders of durable markets have options, got: #{inspect(opts)}")

  def submit_order(%__MODULE__{kind: :continuous} = market, order, []), do: Book.submit(market, order)

  def submit_order(%__MODULE__{} = market, order, []) when is_map(order),
    do: Server.ask(market, {:submit, order})

  def submit_order(%__MODULE__{}, order, []), do: Order.invalid(order)

  @doc """
  Takes an agent's waiting order back: `{:ok, %{id:, agent:, side:, price:, quantity: what was left}}`.
  Errors: `:not_found` (filled, not waiting, or another agent's), `:busy`, `:unsupported` (prediction). O(log
  prices).
  """
  @spec cancel_order(t, Types.agent_id(), pos_integer) :: {:ok, map} | {:error, term}
  def cancel_order(%__MODULE__{durable: true} = market, agent, id),
    do: Durable.ask(market, {:cancel, agent, id})

  def cancel_order(%__MODULE__{kind: :continuous} = market, agent, id) when is_integer(id) and id >= 0,
    do: Book.cancel(market, agent, id)

  def cancel_order(%__MODULE__{} = market, agent, id), do: Server.ask(market, {:cancel, agent, id})

  @doc """
  Changes price and quantity of an agent's waiting order in a continuous market: as `submit_order/3`. Less at
  the same price keeps its place. Errors besides: `:not_found`, `:unsupported`. O(log prices + trades).
  """
  @spec replace_order(t, Types.agent_id(), pos_integer, %{price: pos_integer, quantity: pos_integer}) ::
          {:ok, map} | {:error, term}
  def replace_order(%__MODULE__{durable: true} = market, agent, id, change),
    do: Durable.ask(market, {:replace, agent, id, change})

  def replace_order(%__MODULE__{kind: :continuous} = market, agent, id, change)
      when is_integer(id) and id >= 0,
      do: Book.replace(market, agent, id, change)

  def replace_order(%__MODULE__{}, _agent, _id, _change), do: {:error, :unsupported}

  @doc "A waiting order: as `cancel_order/3`, and it goes on waiting. O(1)."
  @spec order(t, pos_integer) :: {:ok, map} | {:error, term}
  def order(%__MODULE__{durable: true} = market, id), do: Durable.ask(market, {:order, id})

  def order(%__MODULE__{kind: :continuous} = market, id) when is_integer(id) and id >= 0,
    do: Book.order(market, id)

  def order(%__MODULE__{} = market, id), do: Server.ask(market, {:order, id})

  @doc """
  Clears a call market:
  `{:ok, %{price: money | nil, volume: n, imbalance: n, fills: [%{order:, agent:, side:, quantity:}]}}`. All
  trade at the one price with the largest volume, of these the one with the smallest imbalance (bid beyond
  asked), of these the nearest to the last price (the first time the middle). Better prices are filled first,
  then earlier orders; what is not filled waits for the next call. Errors: `:unsupported` (other kinds),
  `:not_found`. O(n log n).
  """
  @spec clear(t) :: {:ok, map} | {:error, term}
  def clear(%__MODULE__{durable: true} = market), do: Durable.ask(market, :clear)
  def clear(%__MODULE__{kind: :call} = market), do: Server.ask(market, :clear)
  def clear(%__MODULE__{}), do: {:error, :unsupported}

  @doc """
  Ends the trade of a prediction market, of which `outcome` has come true:
  `{:ok, %{outcome:, payouts: %{agent => money}, loss: the maker's}}`, one unit a share. With `to:` all are
  paid, or nobody, and it stays open. The same again when asked again. Errors: `:no_such_outcome`, of
  `Foundation.MABEAM.Economics.settle/3`, `:unsupported`, `:not_found`. O(agents).
  """
  @spec resolve(t, term) :: {:ok, map} | {:error, term}
  def resolve(%__MODULE__{kind: :prediction} = market, outcome), do: Server.ask(market, {:resolve, outcome})
  def resolve(%__MODULE__{}, _outcome), do: {:error, :unsupported}

  @doc """
  What all may see.

  Continuous and call:
  `{:ok, %{bids: [%{price:, quantity:, orders:}], asks: [...], orders: waiting, placed: n, volume: n, last_price: nil | money}}`,
  the best price first, at most `levels` (10, at most 100) of each side, and `:trades` of a continuous one.
  Prediction:
  `{:ok, %{prices:, shares:, holdings: %{agent => %{outcome => shares}}, collected: money, max_loss: money, trades: n, resolved: outcome | nil}}`.
  Errors: `:busy`, `:not_found`. O(levels); call O(n log n).
  """
  @spec order_book(t, 1..100) :: {:ok, map} | {:error, term}
  def order_book(market, levels \\ 10)

  def order_book(%__MODULE__{durable: true} = market, levels) when levels in 1..100,
    do: Durable.ask(market, {:depth, levels})

  def order_book(%__MODULE__{kind: :continuous} = market, levels) when levels in 1..100,
    do: Book.depth(market, levels)

  def order_book(%__MODULE__{} = market, levels) when levels in 1..100,
    do: Server.ask(market, {:depth, levels})

  @doc """
  Sends `{:market, id, event}` to the calling process: `{:traded, %{order:, agent:, side:, trades:}}` of a
  continuous market (who came, and whom it met), `{:cleared, result}`, `{:traded, map}` and
  `{:resolved, result}` of the others. Errors: `:not_found`; `:unsupported` (durable). O(1).
  """
  @spec subscribe(t) :: :ok | {:error, :not_found | :timeout | :unsupported}
  def subscribe(%__MODULE__{durable: true}), do: {:error, :unsupported}
  def subscribe(%__MODULE__{} = market), do: Server.ask(market, {:subscribe, self()})

  @doc """
  Prices at which all that traders bring is taken, by tâtonnement: prices of what is short rise, others fall,
  until every good clears.

      iex> alias Foundation.MABEAM.Coordination.Market
      iex> ann = %{endowment: %{bread: 1, wine: 0}, weights: %{bread: 0.5, wine: 0.5}}
      iex> bob = %{endowment: %{bread: 0, wine: 1}, weights: %{bread: 0.5, wine: 0.5}}
      iex> {:ok, %{cleared: true, prices: prices}} = Market.find_equilibrium([ann, bob])
      iex> Float.round(prices.wine / prices.bread, 3)
      1.0

  A trader has `endowment:` and `weights:` (how much it likes each), maps from good to a number from 0, and
  `elasticity:` of substitution (1.0: Cobb-Douglas; more replaces one good by another more readily; above 0,
  at most 100). Options: `tolerance:` the largest excess, as a part of a good's supply, that counts as cleared
  (1.0e-6); `rounds:` (10,000); `timeout:` ms (5,000).

  `{:ok, %{cleared: boolean, prices: %{good => float} with sum 1, demand: [%{good => float}] in the order of traders, residual: the largest excess, rounds: n}}`.
  It converges under gross substitutes (Arrow, Block and Hurwicz 1959; elasticity from 1); else look at
  `cleared`. Errors: `{:invalid, field}`, `{:invalid, details}`. O(rounds · traders · goods).
  """
  @spec find_equilibrium([map], keyword) :: {:ok, map} | {:error, term}
  def find_equilibrium(traders, opts \\ []) when is_list(traders), do: Equilibrium.find(traders, opts)

  @doc """
  Has traders with given values and strategies trade in a book, and says how well they did.

      traders =
        for n <- 1..10, side <- [:buy, :sell], do: %{agent: "\#{side}-\#{n}", side: side, values: [n * 1_000_000], strategy: :zero_intelligence}

      {:ok, %{efficiency: efficiency, trades: trades}} = Market.simulate(traders, seed: 1)

  A trader has `agent:`, `side:`, `values:` (what each unit is worth to a buyer, or costs a seller, in the
  order in which they are traded), and a `strategy:`:

    * `:zero_intelligence` offers a random price at which it does not lose (Gode and Sunder, Allocative
      Efficiency of Markets with Zero-Intelligence Traders, 1993);
    * `:unconstrained` a random price of the whole range;
    * `:truthful` what the unit is worth;
    * a function of `view` and a random state (`:rand`), or `{module, function}`:
      `{price | :pass, random state}`. The view is
      `%{agent:, side:, value:, left: units, best_bid:, best_ask:, last_price:, step:}`.

  In each step one trader that has units left, chosen by the seed, offers one unit; its offer replaces the one
  that it had waiting. A strategy that raises or answers anything else passes, which is counted. The book is
  one like those of `create_market/2`. Options: `seed:` (0), `steps:` (100 for each unit), `range:`
  `{lowest, highest}` price (1 to twice the highest value).

  `{:ok, %{trades: [%{step:, buyer:, seller:, price:}], orders: n, failures: n, surplus: money, max_surplus: money, efficiency: float, traders: %{agent => %{traded: n, surplus: money}}}}`:
  `efficiency` is the part of the largest possible surplus that was realised (1.0 where there is none to
  have). The same seed gives the same result. Errors: `{:invalid, details}`. O(steps · log prices).
  """
  @spec simulate([map], keyword) :: {:ok, map} | {:error, invalid}
  def simulate(traders, opts \\ []) when is_list(traders), do: Simulation.run(traders, opts)
end
