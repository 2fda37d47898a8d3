defmodule Foundation.Native.Market do
  @moduledoc false
  # The functions of the domain `market`, which `use` defines in Foundation.Native.
  # Amounts are integers, in millionths. Participants, items, options are small integers that the caller assigns.

  defmacro __using__(_options) do
    quote location: :keep do
      @type market_limits :: {max_steps :: non_neg_integer, timeout_ms :: non_neg_integer}
      @type market_error ::
              {:error,
               :overflow
               | :stopped
               | :closed
               | :too_low
               | :not_found
               | :full
               | :unfillable
               | :would_trade
               | :not_your_turn
               | :malformed
               | {:invalid | :too_large, atom}}
      @type market_vote_rule ::
              :plurality
              | {:majority | :unanimity, electorate :: non_neg_integer}
              | :approval
              | :borda
              | :schulze
              | :instant_runoff

      @spec market_vote(
              market_vote_rule,
              pos_integer,
              [{option :: non_neg_integer | [non_neg_integer], weight :: non_neg_integer}],
              :none | :lowest | {:seed, non_neg_integer}
            ) :: {:ok, map} | market_error
      def market_vote(_rule, _options, _votes, _tie), do: missing()

      @spec market_sample_size(non_neg_integer, number, number) :: {:ok, non_neg_integer} | market_error
      def market_sample_size(_population, _epsilon, _delta), do: missing()

      @spec market_sample_choose(non_neg_integer, non_neg_integer, non_neg_integer) ::
              {:ok, [non_neg_integer]} | market_error
      def market_sample_choose(_population, _count, _seed), do: missing()

      @spec market_sample_decide(
              {yes :: non_neg_integer, asked :: non_neg_integer, population :: non_neg_integer},
              number,
              number
            ) ::
              {:ok, %{share: float, low: float, high: float, verdict: :passes | :fails | :open}}
              | market_error
      def market_sample_decide(_counts, _threshold, _delta), do: missing()

      @spec market_sealed(
              :first_price | :vickrey | {:uniform | :discriminatory, units :: non_neg_integer},
              integer,
              [
                {bidder :: non_neg_integer, amount :: integer}
                | {bidder :: non_neg_integer, units :: non_neg_integer, price :: integer}
              ]
            ) :: {:ok, map | nil} | market_error
      def market_sealed(_rule, _reserve, _bids), do: missing()

      @spec market_double([{non_neg_integer, integer}], [{non_neg_integer, integer}]) ::
              {:ok, map} | market_error
      def market_double(_bids, _asks), do: missing()

      @spec market_combinatorial(
              non_neg_integer,
              [{bidder :: non_neg_integer, items :: [non_neg_integer], price :: integer}],
              :or | :xor,
              :first_price | :vcg,
              market_limits
            ) :: {:ok, map} | market_error
      def market_combinatorial(_items, _bids, _bidding, _rule, _limits), do: missing()

      @spec market_open(tuple) :: {:ok, binary} | market_error
      def market_open(_description), do: missing()

      @spec market_event(
              :sealed | :english | :dutch | :lmsr | :alternating_offers | :shapley,
              binary,
              tuple
            ) :: {:ok, binary, term} | market_error
      def market_event(_kind, _state, _event), do: missing()

      @type market_book :: reference
      @type market_side :: :buy | :sell
      @type market_kind :: :limit | :market | :ioc | :fok | :post_only
      @type market_placed ::
              {id :: pos_integer, filled :: non_neg_integer, resting :: non_neg_integer,
               dropped :: non_neg_integer,
               trades :: [
                 {maker :: pos_integer, maker_owner :: non_neg_integer, price :: integer,
                  quantity :: pos_integer, maker_done :: boolean}
               ], cancelled :: [pos_integer]}
      @type market_resting ::
              {id :: pos_integer, owner :: non_neg_integer, market_side, price :: integer,
               quantity :: pos_integer}

      @spec market_book_new(
              :allow | :cancel_incoming | :cancel_resting | :cancel_both,
              integer,
              non_neg_integer
            ) :: {:ok, market_book} | market_error
      def market_book_new(_self_trade, _tick, _max_orders), do: missing()

      @spec market_book_place(
              market_book,
              non_neg_integer,
              market_side,
              market_kind,
              integer,
              non_neg_integer
            ) ::
              {:ok, market_placed} | :dirty | market_error
      def market_book_place(_book, _owner, _side, _kind, _price, _quantity), do: missing()

      @spec market_book_place_large(
              market_book,
              non_neg_integer,
              market_side,
              market_kind,
              integer,
              non_neg_integer
            ) ::
              {:ok, market_placed} | market_error
      def market_book_place_large(_book, _owner, _side, _kind, _price, _quantity), do: missing()

      @spec market_book_place_all(market_book, [
              {owner :: non_neg_integer, market_side, market_kind, price :: integer,
               quantity :: non_neg_integer}
            ]) :: {:ok, [{:ok, market_placed} | market_error]}
      def market_book_place_all(_book, _orders), do: missing()

      @spec market_book_cancel(market_book, non_neg_integer, non_neg_integer) ::
              {:ok, market_resting} | {:error, :busy} | market_error
      def market_book_cancel(_book, _id, _owner), do: missing()

      @spec market_book_replace(market_book, non_neg_integer, non_neg_integer, integer, non_neg_integer) ::
              {:ok, market_placed} | market_error
      def market_book_replace(_book, _id, _owner, _price, _quantity), do: missing()

      @spec market_book_order(market_book, non_neg_integer) ::
              {:ok, market_resting} | {:error, :busy} | market_error
      def market_book_order(_book, _id), do: missing()

      @spec market_book_depth(market_book, non_neg_integer) ::
              {:ok,
               %{
                 bids: [{price :: integer, quantity :: pos_integer, orders :: pos_integer}],
                 asks: [{price :: integer, quantity :: pos_integer, orders :: pos_integer}],
                 orders: non_neg_integer
               }}
              | {:error, :busy}
      def market_book_depth(_book, _levels), do: missing()

      @spec market_call(
              [{owner :: non_neg_integer, market_side, price :: integer, quantity :: non_neg_integer}],
              integer | nil
            ) :: {:ok, map} | market_error
      def market_call(_orders, _reference), do: missing()

      @spec market_equilibrium(
              [{endowment :: [number], weights :: [number], elasticity :: number}],
              number,
              non_neg_integer,
              market_limits
            ) :: {:ok, map} | market_error
      def market_equilibrium(_traders, _tolerance, _max_rounds, _limits), do: missing()

      @spec market_game(
              atom | tuple,
              {rows :: pos_integer, cols :: pos_integer, row_payoffs :: [number], column_payoffs :: [number]},
              market_limits
            ) :: {:ok, map | {row :: [float], column :: [float]}} | market_error
      def market_game(_question, _game, _limits), do: missing()

      @spec market_minimax(pos_integer, pos_integer, [number], market_limits) ::
              {:ok, %{value: float, row: [float], column: [float]}} | market_error
      def market_minimax(_rows, _cols, _payoffs, _limits), do: missing()

      @spec market_shapley([integer], market_limits) :: {:ok, [integer]} | market_error
      def market_shapley(_worth, _limits), do: missing()

      @spec market_matching(
              [[non_neg_integer]],
              [[non_neg_integer]],
              [non_neg_integer],
              :from_first | :from_second
            ) :: {:ok, %{partner: [non_neg_integer | nil], proposals: non_neg_integer}} | market_error
      def market_matching(_first, _second, _places, _proposals), do: missing()

      @spec market_fair(:adjusted_winner | :round_robin | :divide_and_choose | :moving_knife, [[number]]) ::
              {:ok, map | list} | market_error
      def market_fair(_rule, _values), do: missing()

      @spec market_assign(:hungarian | :auction, [[integer | nil]], market_limits) ::
              {:ok, map} | market_error
      def market_assign(_method, _costs, _limits), do: missing()

      @spec market_assign_tasks(
              :hungarian | :auction,
              [{needs :: [0..127], work :: integer}],
              [{can :: [0..127], rate :: integer, slots :: non_neg_integer}],
              market_limits
            ) :: {:ok, %{columns: [non_neg_integer | nil], cost: integer, gap: integer}} | market_error
      def market_assign_tasks(_method, _tasks, _workers, _limits), do: missing()

      @type market_search :: reference

      @spec market_search_new(tuple, non_neg_integer) :: {:ok, market_search} | market_error
      def market_search_new(_method, _seed), do: missing()

      @spec market_search_ask(market_search) ::
              {:ok, %{id: pos_integer, values: [float], budget: pos_integer, probability: float}} | :none
      def market_search_ask(_search), do: missing()

      @spec market_search_tell(market_search, pos_integer, number | nil) :: :ok | market_error
      def market_search_tell(_search, _id, _score), do: missing()

      @spec market_search_status(market_search) :: {:ok, map}
      def market_search_status(_search), do: missing()

      @spec market_search_dump(market_search) :: binary
      def market_search_dump(_search), do: missing()

      @spec market_search_load(binary) :: {:ok, market_search} | market_error
      def market_search_load(_state), do: missing()

      @spec market_negotiate(tuple, market_limits) :: {:ok, float | map | list} | market_error
      def market_negotiate(_question, _limits), do: missing()
    end
  end
end
