defmodule Foundation.MABEAM.Coordination.ContractNet do
  @moduledoc """
  Gives a task to the agent that offers to do it for least, and has it done: the protocol `:contract_net`.

      Coordination.coordinate(:contract_net, agents, %{task: {:index, "docs"}, max_price: Economics.units("5")}, tokens: 10_000)

  The problem is a map: `task:`, what `handle_task/2` of the winner gets; `announcement:`, what `handle_bid_request/2` of all gets
  (the task unless given); `max_price:` in millionths (none). A bid is a whole number of millionths from 0, or a map with
  such a `:price`; anything else, a float or `:nan` too, is invalid.

  Three kinds of round: all are asked for bids; the cheapest is offered the contract (`handle_proposal/2` gets `%{award: task,
  price: price}` and may `:accept` or reject it; without that callback it
  stands by its bid); it does the task (`handle_task/2`). Who rejects, fails or does not answer loses the
  contract to the next. Of equal bids the one of the agent that comes first in the list of participants wins.

  Decision: `%{agent: id, price: price, result: result}`. `confidence` 1.0. `detail`: `:bids` (agents and prices, best first) and `:passed`, agents
  that had the contract and why they lost it. Fails with `:no_bids` (none within `max_price`) and `:nobody_did_it`.

  Properties: Smith, The Contract Net Protocol, 1980; FIPA SC00029H. 2n messages and at most 4 for each that gets the
  contract. The winner gets what it asked, so that bidding more than the cost may pay: not truthful. Nothing is paid by it;
  see `Foundation.MABEAM.Economics`.
  """

  use Foundation.MABEAM.Protocol

  @most 2 ** 63

  @impl true
  def defaults, do: [rounds: 9, slices: 3, quorum: 0]

  @impl true
  def properties do
    %{
      truthful: false,
      efficient: :at_true_bids,
      budget_balanced: true,
      messages: "2n + 4 a contractor",
      source: "Smith 1980, FIPA SC00029H"
    }
  end

  @impl true
  def init(%{task: task} = problem, participants) do
    case Map.get(problem, :max_price) do
      most when most == nil or (is_integer(most) and most >= 0) ->
        {:ok,
         %{
           task: task,
           announcement: Map.get(problem, :announcement, task),
           most: most,
           order: participants |> Enum.with_index() |> Map.new(),
           phase: :bids,
           bids: [],
           left: [],
           result: nil,
           passed: %{}
         }}

      other ->
        {:error, {:invalid, %{field: :max_price, value: other, expected: "a whole number of millionths"}}}
    end
  end

  def init(problem, _participants),
    do: {:error, {:invalid, %{field: :problem, value: problem, expected: "a map with :task"}}}

  @impl true
  def ask(%{phase: :bids} = state, _round), do: {[{:all, :bid, state.announcement}], state}

  def ask(%{phase: :award, left: [{id, price} | _]} = state, _round),
    do: {[{id, :proposal, %{award: state.task, price: price}}], %{state | result: nil}}

  def ask(%{phase: :work, left: [{id, _price} | _]} = state, _round), do: {[{id, :task, state.task}], state}

  @impl true
  def answer(id, {:bid, %{price: price}}, %{phase: :bids} = state), do: bid(id, price, state)
  def answer(id, {:bid, price}, %{phase: :bids} = state), do: bid(id, price, state)
  def answer(_id, :accept, %{phase: :award} = state), do: {:ok, %{state | result: :accepted}}
  def answer(_id, {:reject, _} = answer, %{phase: :award} = state), do: {:ok, %{state | result: answer}}
  def answer(_id, {:done, _} = answer, %{phase: :work} = state), do: {:ok, %{state | result: answer}}
  def answer(_id, {:failed, _} = answer, %{phase: :work} = state), do: {:ok, %{state | result: answer}}
  def answer(_id, _other, state), do: {:invalid, :not_an_answer, state}

  defp bid(id, price, state) when is_integer(price) and price >= 0 and price <= @most,
    do: {:ok, %{state | bids: [{id, price} | state.bids]}}

  defp bid(_id, _price, state), do: {:invalid, :not_a_price, state}

  @impl true
  def decide(_report, %{phase: :bids} = state) do
    bids = Enum.sort_by(state.bids, fn {id, price} -> {price, state.order[id]} end)
    left = Enum.filter(bids, fn {_id, price} -> state.most == nil or price <= state.most end)
    state = %{state | bids: bids, left: left, phase: :award}
    if left == [], do: {:failed, :no_bids, %{bids: bids}, state}, else: {:again, state}
  end

  def decide(_report, %{phase: :award, result: :accepted} = state),
    do: {:again, %{state | phase: :work, result: nil}}

  # Who takes no proposals stands by its bid.
  def decide(%{failures: failures}, %{phase: :award, left: [{id, _price} | _]} = state)
      when :erlang.map_get(id, failures) == {:not_supported, :proposal},
      do: {:again, %{state | phase: :work}}

  def decide(_report, %{phase: :work, result: {:done, result}} = state) do
    [{id, price} | _] = state.left
    decision = %{agent: id, price: price, result: result}
    {:decided, decision, %{confidence: 1.0, bids: state.bids, passed: state.passed}, state}
  end

  def decide(report, %{left: [{id, _price} | left]} = state) do
    why = state.result || Map.get(report.failures, id, :abstained)
    state = %{state | left: left, passed: Map.put(state.passed, id, why), phase: :award, result: nil}

    if left == [],
      do: {:failed, :nobody_did_it, %{bids: state.bids, passed: state.passed}, state},
      else: {:again, state}
  end
end
