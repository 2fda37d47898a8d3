defmodule Foundation.MABEAM.Coordination.Auction.Rules do
  @moduledoc false
  # What is for sale and how, and what counts as a bid in it: the fields of each kind of auction, and the check of each
  # bid, whoever it comes from.

  alias Foundation.MABEAM.Types
  alias Foundation.MABEAM.Types.Fields

  @kinds [:sealed_first_price, :vickrey, :english, :dutch, :combinatorial, :double_auction, :multi_unit]
  @most 1_000_000_000_000_000
  @largest 9_223_372_036_854_775_807
  @offers 100

  defstruct [
    :kind,
    :item,
    :data,
    :to,
    :items,
    :places,
    :units,
    :start,
    :increment,
    :decrement,
    :bidding,
    :pricing,
    :search_ms,
    reserve: 0,
    most: @most,
    accounts: false,
    once: nil
  ]

  @type t :: %__MODULE__{}

  @typedoc "An amount; offers `{units, price}`; offers `{places of items, amount}`; `{side, amount}`."
  @type bid :: non_neg_integer | [{term, non_neg_integer}] | {:buy | :sell, non_neg_integer}

  def kinds, do: @kinds

  @doc "The names of the fields of a kind of auction."
  @spec fields(atom) :: [atom]
  def fields(kind), do: kind |> rules() |> Enum.map(&elem(&1, 0))

  @doc "The rules of a kind of auction for so many bidders at most."
  @spec new(atom, map | keyword, non_neg_integer) :: {:ok, t} | {:error, {:invalid, map}}
  def new(kind, fields, bidders) when kind in @kinds do
    with {:ok, rules} <- Fields.build(__MODULE__, fields, rules(kind)),
         rules = %{rules | kind: kind} |> placed() |> fit(bidders),
         :ok <- consistent(rules),
         do: {:ok, rules}
  end

  defp placed(%{items: nil} = rules), do: rules
  defp placed(rules), do: %{rules | places: rules.items |> Enum.with_index() |> Map.new()}

  # So that no sum of bids leaves 64 bits, whatever is bid.
  defp fit(rules, bidders) do
    times =
      case rules.kind do
        :multi_unit -> rules.units
        :combinatorial -> max(bidders, 1) * @offers
        _ -> max(bidders, 1)
      end

    %{rules | most: min(rules.most, div(@largest, times))}
  end

  defp consistent(rules) do
    cond do
      rules.accounts and rules.to == nil ->
        Fields.invalid(:to, nil, "the account that is paid, when accounts: is true")

      rules.reserve > rules.most ->
        Fields.invalid(:reserve, rules.reserve, "at most #{rules.most}")

      rules.start != nil and rules.start > rules.most ->
        Fields.invalid(:start, rules.start, "at most #{rules.most}")

      rules.kind == :dutch and rules.reserve > rules.start ->
        Fields.invalid(:reserve, rules.reserve, "at most start:, #{rules.start}")

      true ->
        :ok
    end
  end

  defp rules(kind), do: common() ++ own(kind)

  defp common do
    [
      {:item, nil, fn _ -> true end, "any term"},
      {:data, nil, fn _ -> true end, "any term"},
      {:most, @most, &above?(&1, 0), "a whole number of millionths from 1"},
      {:accounts, false, &is_boolean/1, "true or false"},
      {:to, nil, &(&1 == nil or account?(&1)), "the id of an account"},
      # Under which payments are settled once for all lives of a session.
      {:once, nil, &(&1 == nil or is_binary(&1)), "a text"}
    ]
  end

  defp own(:english) do
    [
      reserve(),
      {:start, 0, &above?(&1, -1), "a whole number of millionths from 0"},
      {:increment, :required, &above?(&1, 0), "a whole number of millionths from 1"}
    ]
  end

  defp own(:dutch) do
    [
      reserve(),
      {:start, :required, &above?(&1, -1), "a whole number of millionths from 0"},
      {:decrement, :required, &above?(&1, 0), "a whole number of millionths from 1"}
    ]
  end

  defp own(:multi_unit) do
    [
      reserve(),
      {:units, :required, &(above?(&1, 0) and &1 <= 1_000_000_000), "a whole number from 1 to 10^9"},
      {:pricing, :uniform, &(&1 in [:uniform, :discriminatory]), ":uniform or :discriminatory"}
    ]
  end

  defp own(:combinatorial) do
    [
      {:items, :required, &items?/1, "a list of 1 to 1,000 different items"},
      {:bidding, :xor, &(&1 in [:xor, :or]), ":xor or :or"},
      {:pricing, :vcg, &(&1 in [:vcg, :first_price]), ":vcg or :first_price"},
      {:search_ms, 1_000, &(above?(&1, 0) and &1 <= 600_000), "a whole number of ms from 1 to 600,000"}
    ]
  end

  defp own(:double_auction), do: []
  defp own(_sealed), do: [reserve()]

  defp reserve, do: {:reserve, 0, &above?(&1, -1), "a whole number of millionths from 0"}

  defp above?(number, least), do: is_integer(number) and number > least and number <= @largest

  defp items?([_ | _] = items),
    do:
      not List.improper?(items) and length(items) <= 1_000 and MapSet.size(MapSet.new(items)) == length(items)

  defp items?(_other), do: false

  @doc "Whether a term may name an account."
  @spec account?(term) :: boolean
  def account?(id), do: Types.agent_id?(id) and id not in [:bank, :all]

  @doc "A bid in the form that the solvers take, and the most that its bidder may have to pay."
  @spec bid(t, term) :: {:ok, bid, non_neg_integer} | {:error, atom}
  def bid(%{kind: :multi_unit} = rules, bid), do: offers(rules, bid, &unit_offer/2, fn _ -> :all end)
  def bid(%{kind: :combinatorial} = rules, bid), do: offers(rules, bid, &bundle_offer/2, & &1.bidding)

  def bid(%{kind: :double_auction} = rules, {side, amount}) when side in [:buy, :sell] do
    with {:ok, amount} <- amount(rules, amount),
         do: {:ok, {side, amount}, if(side == :buy, do: amount, else: 0)}
  end

  def bid(%{kind: :double_auction}, _other), do: {:error, :not_a_bid}
  def bid(rules, %{amount: amount}), do: single(rules, amount)
  def bid(rules, amount), do: single(rules, amount)

  # The seller of an English auction keeps its reserve price to itself.
  defp single(rules, amount) do
    with {:ok, amount} <- amount(rules, amount) do
      if rules.kind in [:sealed_first_price, :vickrey] and amount < rules.reserve,
        do: {:error, :too_low},
        else: {:ok, amount, amount}
    end
  end

  defp amount(%{most: most}, amount) when is_integer(amount) and amount >= 0 and amount <= most,
    do: {:ok, amount}

  defp amount(_rules, amount) when is_integer(amount) and amount >= 0, do: {:error, :too_much}
  defp amount(_rules, _other), do: {:error, :not_an_amount}

  defp offers(rules, {_what, _amount} = offer, one, _sum) do
    with {:ok, bid, cost} <- one.(rules, offer), do: {:ok, [bid], cost}
  end

  defp offers(rules, [_ | _] = offers, one, sum) do
    with false <- List.improper?(offers),
         offers = Enum.take(offers, @offers + 1),
         true <- length(offers) <= @offers do
      offers
      |> Enum.reduce_while({:ok, [], []}, fn offer, {:ok, bids, costs} ->
        case one.(rules, offer) do
          {:ok, bid, cost} -> {:cont, {:ok, [bid | bids], [cost | costs]}}
          error -> {:halt, error}
        end
      end)
      |> summed(sum.(rules))
    else
      _ -> {:error, :too_many_offers}
    end
  end

  defp offers(_rules, _other, _one, _sum), do: {:error, :not_a_bid}

  defp summed({:ok, bids, costs}, :xor), do: {:ok, Enum.reverse(bids), Enum.max(costs)}
  defp summed({:ok, bids, costs}, _all), do: {:ok, Enum.reverse(bids), Enum.sum(costs)}
  defp summed(error, _how), do: error

  defp unit_offer(rules, {units, price}) when is_integer(units) and units > 0 do
    with {:ok, price} <- amount(rules, price) do
      units = min(units, rules.units)
      if price < rules.reserve, do: {:error, :too_low}, else: {:ok, {units, price}, units * price}
    end
  end

  defp unit_offer(_rules, _other), do: {:error, :not_a_bid}

  defp bundle_offer(rules, {[_ | _] = items, amount}) do
    with {:ok, amount} <- amount(rules, amount),
         {:ok, places} <- places(rules.places, items, []),
         do: {:ok, {places, amount}, amount}
  end

  defp bundle_offer(_rules, _other), do: {:error, :not_a_bid}

  defp places(_all, [], found), do: {:ok, Enum.sort(found)}

  defp places(all, [item | rest], found) do
    case all do
      %{^item => place} ->
        if place in found, do: {:error, :item_twice}, else: places(all, rest, [place | found])

      _ ->
        {:error, :no_such_item}
    end
  end

  defp places(_all, _improper, _found), do: {:error, :not_a_bid}
end
