defmodule Foundation.Spender do
  @moduledoc false
  # Spends on a node, for tests of the ledger and of markets that several nodes keep, and says what it was answered.

  alias Foundation.MABEAM.Coordination.Market
  alias Foundation.MABEAM.Economics

  @doc """
  Makes that many payments between accounts `1..accounts`, as the seed says: `[{id, {from, to, amount}, answer}]`, with the
  last answer; what was left open is asked again under its id, until it is known or the attempts are over.
  """
  def pay(name, count, accounts, seed) do
    for {n, {from, to, amount}} <- payments(count, accounts, seed) do
      id = {name, n}
      {id, {from, to, amount}, patient(fn -> Economics.pay(from, to, amount, id, id: id) end, 8)}
    end
  end

  @doc "Pays one after the other, each under its own id."
  def pay_each(name, count, from, to) do
    for n <- 1..count,
        do: patient(fn -> Economics.pay(from, to, 1, nil, id: {name, n}) end, 8)
  end

  defp payments(count, accounts, seed) do
    state = :rand.seed_s(:exsss, {seed, seed, seed})

    {list, _state} =
      Enum.map_reduce(1..count, state, fn n, state ->
        {from, state} = :rand.uniform_s(accounts, state)
        {step, state} = :rand.uniform_s(accounts - 1, state)
        {amount, state} = :rand.uniform_s(400, state)
        {{n, {account(from), account(rem(from + step - 1, accounts) + 1), amount}}, state}
      end)

    list
  end

  def account(n), do: "account-#{n}"

  @doc "Places orders of one agent at prices around 100, under ids: `[{id, order, answer}]`."
  def trade(market, agent, count, seed) do
    state = :rand.seed_s(:exsss, {seed, seed, seed})

    {list, _state} =
      Enum.map_reduce(1..count, state, fn n, state ->
        {side, state} = :rand.uniform_s(2, state)
        {price, state} = :rand.uniform_s(10, state)
        {quantity, state} = :rand.uniform_s(5, state)
        order = %{agent: agent, side: Enum.at([:buy, :sell], side - 1), price: 95 + price, quantity: quantity}
        id = {agent, n}
        {{id, order, patient(fn -> Market.submit_order(market, order, id: id) end, 8)}, state}
      end)

    list
  end

  defp patient(ask, attempts) do
    case ask.() do
      {:error, reason} when reason in [:unknown, :no_leader, :unreachable, :busy] and attempts > 1 ->
        patient(ask, attempts - 1)

      answer ->
        answer
    end
  end
end
