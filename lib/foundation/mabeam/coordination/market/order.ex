defmodule Foundation.MABEAM.Coordination.Market.Order do
  @moduledoc false
  # What an order must be, before it gets to a book.

  alias Foundation.MABEAM.Types
  alias Foundation.MABEAM.Types.Fields

  @types [:limit, :market, :ioc, :fok, :post_only]
  @most 1_000_000_000_000_000
  @quantity 2 ** 58

  @type t :: %{
          required(:agent) => Types.agent_id(),
          required(:side) => :buy | :sell,
          required(:quantity) => pos_integer,
          optional(:price) => pos_integer,
          optional(:type) => :limit | :market | :ioc | :fok | :post_only
        }

  defguard is_quantity(quantity) when is_integer(quantity) and quantity > 0 and quantity <= @quantity
  defguard is_price(price) when is_integer(price) and price > 0 and price <= @most
  defguard is_type(type) when type in @types
  defguard is_side(side) when side in [:buy, :sell]

  @doc "The type of a well-formed order and its price, nil of a `:market` order: its agent may still be none."
  @spec terms(term) :: {:ok, atom, pos_integer | nil} | {:error, {:invalid, map}}
  def terms(%{agent: _, side: side, quantity: quantity} = order)
      when is_side(side) and is_quantity(quantity) do
    case order do
      %{type: :market} -> {:ok, :market, nil}
      %{type: type, price: price} when is_type(type) and is_price(price) -> {:ok, type, price}
      %{type: _} -> invalid(order)
      %{price: price} when is_price(price) -> {:ok, :limit, price}
      _ -> invalid(order)
    end
  end

  def terms(order), do: invalid(order)

  @doc "What is wrong with an order that is none."
  @spec invalid(term) :: {:error, {:invalid, map}}
  def invalid(%{} = order) do
    cond do
      not Types.agent_id?(order[:agent]) ->
        Fields.invalid(:agent, order[:agent], "an agent id")

      not is_side(order[:side]) ->
        Fields.invalid(:side, order[:side], ":buy or :sell")

      not is_quantity(order[:quantity]) ->
        Fields.invalid(:quantity, order[:quantity], "a whole number from 1 to 2^58")

      not is_type(Map.get(order, :type, :limit)) ->
        Fields.invalid(:type, order[:type], "one of #{inspect(@types)}")

      true ->
        Fields.invalid(:price, order[:price], "a whole number of millionths from 1 to 10^15")
    end
  end

  def invalid(order), do: Fields.invalid(:order, order, "a map")
end
