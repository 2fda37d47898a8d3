defmodule Foundation.MABEAM.Coordination.Auction do
  @moduledoc """
  Sells things to the agents that bid most, by the rules of seven kinds of auction.

  | kind | | |
  |---|---|---|
  | `:sealed_first_price` | one item, one round, the winner pays its bid | `Foundation.MABEAM.Coordination.Auction.FirstPrice` |
  | `:vickrey` | the winner pays the second highest bid | `Foundation.MABEAM.Coordination.Auction.Vickrey` |
  | `:english` | rising bids | `Foundation.MABEAM.Coordination.Auction.English` |
  | `:dutch` | falling prices | `Foundation.MABEAM.Coordination.Auction.Dutch` |
  | `:multi_unit` | units of one thing, at one price or each at its own | `Foundation.MABEAM.Coordination.Auction.MultiUnit` |
  | `:combinatorial` | bundles, with the payments of Vickrey, Clarke and Groves | `Foundation.MABEAM.Coordination.Auction.Combinatorial` |
  | `:double_auction` | buyers and sellers, McAfee's | `Foundation.MABEAM.Coordination.Auction.Double` |

  Each of these modules says what its fields, bids and results are, where it comes from, and what it
  guarantees.

  Three ways in:

    * `run_auction/3` asks agents for their bids, in a session (`Foundation.MABEAM.Coordination`) with rounds,
      a deadline and a budget;
    * `open/2`, `bid/3` and `close/1` keep an auction open for whoever comes;
    * `determine/3` takes bids that are there and says who wins, without agents or processes.

  ## Money

  Amounts are whole numbers of millionths, from 0. A float, NaN or negative number is no bid.

  With `accounts: true` and `to:` an account, winners pay by `Foundation.MABEAM.Economics`. A bid above what
  its agent has available is `:over_balance`. All payments of an auction are made, or none. In a session they
  are made in one step of the ledger; a winner that has spent its money meanwhile counts as if it had not bid,
  and the auction is decided without it. In an open auction the money is on hold from the bid on (of an
  English auction the leader's alone), so that it cannot be promised twice.

  Fields of all kinds besides their own: `item:` and `data:` any terms for the bidders; `accounts:`, `to:`;
  `most:` the highest amount of a bid (10^15, and less where so many bidders or units could leave 64 bits;
  above it a bid is `:too_much`).

  Open auctions run on the node where they were opened, and end with it; their results are kept for a minute.

  Telemetry: the event `[:foundation, :mabeam, :auction, :closed]` with `kind`, `result` and `bids` of each
  open auction; sessions have their own.

  **Scheduling**: `determine/3`, and the process of an auction, call dirty CPU schedulers: O(bids · log bids),
  and for combinatorial ones up to `search_ms:`.
  """

  alias Foundation.MABEAM.Coordination
  alias Foundation.MABEAM.Coordination.Auction.{Ascent, Rules, Server, Solve}
  alias Foundation.MABEAM.Coordination.Market
  alias Foundation.MABEAM.Types
  alias Foundation.Utils

  @type kind ::
          :sealed_first_price
          | :vickrey
          | :english
          | :dutch
          | :multi_unit
          | :combinatorial
          | :double_auction
  @type refusal ::
          :closed
          | :full
          | :unknown_bidder
          | :already_bid
          | :leading
          | :too_low
          | :too_much
          | :not_an_amount
          | :not_a_bid
          | :too_many_offers
          | :no_such_item
          | :item_twice
          | :over_balance
          | :no_account
          | :not_found
          | :timeout
          | :not_running

  @session [:async, :durable, :timeout, :quorum, :rounds, :round_timeout, :tokens, :money]
  @longest 86_400_000
  @opening [:duration_ms, :interval_ms, :extend_ms, :bidders, :max_bids, :keep_ms]

  @doc """
  Asks agents for bids and says who wins: as `Foundation.MABEAM.Coordination.coordinate/4`, with the fields of
  the auction and the options of the session in one list.

      {:ok, outcome} = Auction.run_auction(:vickrey, [:ann, :bob], item: "slot 7", timeout: 2_000)
      outcome.decision     # %{agent: :bob, price: 3_000_000}

  A combinatorial auction leaves `search_ms:` of its `timeout:` for the search, unless `round_timeout:` is
  given. With `durable: true` it outlives its node as other sessions do, and with `accounts: true` it is paid
  once, whatever its lives have come to: the decision that was settled first in the ledger is the outcome. That takes a
  ledger which outlives the node too (`mabeam: [replicas: nodes]`), else `:no_replicas`.

  Errors: those of `coordinate/4`, of which `{:unsold, outcome}` is the one of auctions. Raises
  ArgumentError for an unknown kind.
  """
  @spec run_auction(kind, [Types.agent_id()], keyword) :: Coordination.result() | {:ok, String.t()}
  def run_auction(kind, agents, fields \\ []) do
    kind!(kind)
    {session, fields} = Keyword.split(fields, @session)
    Coordination.coordinate(kind, agents, Map.new(fields), session(kind, session, fields))
  end

  defp session(:combinatorial, session, fields) do
    search = Keyword.get(fields, :search_ms, 1_000)
    timeout = Keyword.get(session, :timeout, 5_000)

    if is_integer(search) and is_integer(timeout),
      do: Keyword.put_new(session, :round_timeout, max(div(timeout * 9, 10) - search, 1)),
      else: session
  end

  defp session(_kind, session, _fields), do: session

  @doc """
  Who wins and pays what, of bids `{agent, bid}` in the order that breaks ties: `{:ok, decision}`, as the
  kind's module says. Each agent is in the list once. Nothing is paid. Not for `:english` and `:dutch`, whose
  bids are not there at once.

      iex> alias Foundation.MABEAM.Coordination.Auction
      iex> Auction.determine(:vickrey, [ann: 10_000_000, bob: 8_000_000, cec: 7_000_000])
      {:ok, %{agent: :ann, price: 8_000_000}}
      iex> Auction.determine(:vickrey, [ann: 10_000_000], reserve: 11_000_000)
      {:error, {:invalid_bid, :ann, :too_low}}

  Errors: `:unsold`, `{:invalid_bid, agent, reason}`, `{:twice, agent}`, `{:invalid, details}` of a field,
  `:stopped`. Cost: of the kind.
  """
  @spec determine(kind, [{Types.agent_id(), term}], keyword | map) :: {:ok, map} | {:error, term}
  def determine(kind, bids, fields \\ []) when is_list(bids) do
    if kind in [:english, :dutch] or kind not in Rules.kinds(),
      do: raise(ArgumentError, "kind must be an auction of sealed bids, got: #{inspect(kind)}")

    with {:ok, rules} <- Rules.new(kind, fields, length(bids)),
         :ok <- once_each(bids),
         {:ok, bids} <- checked(rules, bids, []),
         do: Solve.solve(rules, bids)
  end

  defp once_each(bids) do
    ids = for {id, _bid} <- bids, do: id

    if map_size(:maps.from_keys(ids, [])) == length(ids),
      do: :ok,
      else: {:error, {:twice, hd(ids -- Enum.uniq(ids))}}
  end

  defp checked(_rules, [], checked), do: {:ok, :lists.reverse(checked)}

  defp checked(rules, [{id, bid} | rest], checked) do
    case Rules.bid(rules, bid) do
      {:ok, bid, _cost} -> checked(rules, rest, [{id, bid} | checked])
      {:error, reason} -> {:error, {:invalid_bid, id, reason}}
    end
  end

  defp checked(_rules, [other | _rest], _checked),
    do: raise(ArgumentError, "bids are pairs of an agent and its bid, got: #{inspect(other, limit: 10)}")

  @doc """
  Opens an auction that bids come to: `{:ok, id}`.

  Options besides the kind's fields: `duration_ms:` until it closes by itself (60,000; a Dutch one when its
  last price is over); `extend_ms:` of an English one: a bid in the last so many ms moves the end to so long
  after it (0); `interval_ms:` of a Dutch one: how long each price stands (1,000); `bidders:` the agents that
  may bid (all); `max_bids:` (10,000); `keep_ms:` how long its result is kept (60,000).

  Errors: `{:invalid, details}` of a field, `:busy` (10,000 auctions and markets), `:not_running`. Raises
  ArgumentError for an unknown kind or an option that is none.
  """
  @spec open(kind, keyword) :: {:ok, String.t()} | {:error, {:invalid, map} | :busy | :not_running}
  def open(kind, fields \\ []) do
    kind!(kind)
    {options, fields} = Keyword.split(fields, @opening)
    options = options!(options)

    bidders = if options.bidders, do: length(options.bidders), else: options.max_bids

    with {:ok, rules} <- Rules.new(kind, fields, bidders) do
      options = %{options | duration_ms: duration(rules, options)}
      id = Utils.generate_correlation_id()
      with {:ok, _pid} <- Market.Supervisor.start({Server, {id, rules, options}}), do: {:ok, id}
    end
  end

  # It ends with its last price, or before.
  defp duration(%{kind: :dutch} = rules, options),
    do: min(options.duration_ms || @longest, Ascent.duration(rules, options.interval_ms))

  defp duration(_rules, options), do: options.duration_ms || 60_000

  @doc """
  Bids in an open auction, as the kind's module says; in a Dutch one the most that would be paid, which takes
  the item when the price is not above it. `:ok` when it counts.

  Errors, after each of which the auction is as it was: `:closed`, `:unknown_bidder`, `:already_bid` (sealed:
  one bid each), `:leading` (English), `:too_low`, `:too_much`, `:not_an_amount`, `:not_a_bid`,
  `:too_many_offers`, `:no_such_item`, `:item_twice`, `:over_balance`, `:no_account`, `:full`, `:not_found`,
  `:not_running`. O(1); of an English auction O(bids).
  """
  @spec bid(String.t(), Types.agent_id(), term) :: :ok | {:error, refusal | term}
  def bid(id, agent, bid), do: call(id, {:bid, agent, bid})

  @doc """
  Ends an auction: `{:ok, decision}` with `:payments`, or `{:error, :unsold}`. The same again when asked
  again, for a minute.

  Errors besides: `{:payment, agent, reason}` (nothing was paid), `:stopped`, `:not_found`, `:timeout`,
  `:not_running`. Cost: of the kind.
  """
  @spec close(String.t()) :: {:ok, map} | {:error, term}
  def close(id), do: call(id, :close)

  @doc """
  How an auction stands:
  `{:ok, %{id:, kind:, item:, status: :open | :closed, bids: n, ends_in_ms:, result: nil | result}}`, and
  while it is open `:asking` and `:leader` of an English one, `:price` of a Dutch one. Errors: `:not_found`,
  `:timeout`, `:not_running`. O(1).
  """
  @spec status(String.t()) :: {:ok, map} | {:error, :not_found | :timeout | :not_running}
  def status(id), do: call(id, :status)

  @doc """
  What happened, oldest first:
  `{:ok, [%{at_ms: since it opened, event: :opened | {:bid, agent, bid} | {:closed, result}}]}`. Sealed bids
  are `{:bid, agent}` until it is closed. Errors: as `status/1`. O(bids).
  """
  @spec history(String.t()) :: {:ok, [map]} | {:error, :not_found | :timeout | :not_running}
  def history(id), do: call(id, :history)

  @doc "Sends `{:auction, id, event}` of `history/1` to the calling process, as they happen. Errors: as `status/1`. O(1)."
  @spec subscribe(String.t()) :: :ok | {:error, :not_found | :timeout | :not_running}
  def subscribe(id), do: call(id, {:subscribe, self()})

  defp call(id, request) when is_binary(id) do
    GenServer.call(Server.via(id), request, 30_000)
  catch
    :exit, {:timeout, _} -> {:error, :timeout}
    :exit, {:noproc, _} -> {:error, if(Market.Supervisor.running?(), do: :not_found, else: :not_running)}
    :exit, {_reason, {GenServer, :call, _}} -> {:error, :not_found}
    # The registry of the names is not there.
    :error, _ -> {:error, :not_running}
  end

  defp kind!(kind) do
    unless kind in Rules.kinds(),
      do: raise(ArgumentError, "kind must be one of #{inspect(Rules.kinds())}, got: #{inspect(kind)}")
  end

  defp options!(options) do
    for {name, value} <- options,
        not option?(name, value),
        do: raise(ArgumentError, "invalid value for #{inspect(name)}: #{inspect(value, limit: 10)}")

    defaults = %{
      duration_ms: nil,
      extend_ms: 0,
      interval_ms: 1_000,
      bidders: nil,
      max_bids: 10_000,
      keep_ms: 60_000
    }

    Map.merge(defaults, Map.new(options))
  end

  defp option?(:bidders, ids),
    do: is_list(ids) and not List.improper?(ids) and ids != [] and Enum.all?(ids, &Types.agent_id?/1)

  defp option?(:extend_ms, ms), do: is_integer(ms) and ms in 0..@longest
  defp option?(:max_bids, count), do: is_integer(count) and count in 1..1_000_000
  defp option?(_ms, ms), do: is_integer(ms) and ms in 1..@longest
end
