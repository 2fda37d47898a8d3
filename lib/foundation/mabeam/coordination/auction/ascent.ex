defmodule Foundation.MABEAM.Coordination.Auction.Ascent do
  @moduledoc false
  # The price of an open auction as it goes up or down with the time: the machine of the market library, and what is said
  # of it. Auctions of sealed bids have none.

  alias Foundation.MABEAM.Coordination.Auction.Rules
  alias Foundation.Native

  @spec open(Rules.t(), map) :: {:ok, binary | nil} | {:error, term}
  def open(%{kind: :english} = rules, options) do
    times = {options.duration_ms, options.extend_ms}

    Native.market_open(
      {:english, rules.start, rules.reserve, rules.increment, elem(times, 0), elem(times, 1)}
    )
  end

  def open(%{kind: :dutch} = rules, options),
    do: Native.market_open({:dutch, rules.start, rules.reserve, rules.decrement, options.interval_ms, 0})

  def open(_sealed, _options), do: {:ok, nil}

  @doc "How long a falling price falls, the last price included."
  @spec duration(Rules.t(), pos_integer) :: pos_integer
  def duration(rules, interval_ms) do
    range = rules.start - rules.reserve
    (div(range + rules.decrement - 1, rules.decrement) + 1) * interval_ms
  end

  @doc "A bid, when it is good: the machine after it, and when the auction ends or what is paid."
  @spec bid(binary, Rules.t(), non_neg_integer, non_neg_integer, non_neg_integer) ::
          {:ok, binary, map} | {:error, atom}
  def bid(machine, %{kind: :english}, at, place, amount) do
    case Native.market_event(:english, machine, {:bid, at, place, amount}) do
      {:ok, machine, ends} -> {:ok, machine, %{at: ends}}
      {:error, :not_your_turn} -> {:error, :leading}
      error -> error
    end
  end

  def bid(machine, %{kind: :dutch}, at, place, amount) do
    case Native.market_event(:dutch, machine, {:price, at}) do
      {:ok, _machine, nil} -> {:error, :closed}
      {:ok, _machine, price} when amount < price -> {:error, :too_low}
      {:ok, machine, _price} -> taken(Native.market_event(:dutch, machine, {:accept, at, place}))
    end
  end

  defp taken({:ok, machine, sale}), do: {:ok, machine, %{price: sale.price}}
  defp taken(error), do: error

  @spec close(binary, Rules.t(), term) :: {:ok, map} | {:error, :unsold}
  def close(machine, %{kind: kind}, leader) do
    case Native.market_event(kind, machine, {:close}) do
      {:ok, _machine, nil} -> {:error, :unsold}
      {:ok, _machine, sale} -> {:ok, %{agent: leader, price: sale.price}}
    end
  end

  @doc "What anyone may see of it while it is open."
  @spec seen(binary | nil, Rules.t(), non_neg_integer, term) :: map
  def seen(machine, %{kind: :english}, _at, leader) do
    {:ok, _machine, %{asking: asking}} = Native.market_event(:english, machine, {:status})
    %{asking: asking, leader: leader}
  end

  def seen(machine, %{kind: :dutch}, at, _leader) do
    {:ok, _machine, price} = Native.market_event(:dutch, machine, {:price, at})
    %{price: price}
  end

  def seen(_none, _sealed, _at, _leader), do: %{}
end
