defmodule Foundation.MABEAM.Coordination.Averaging.Flow do
  @moduledoc false
  # One node's part in an average by gossip: what it has brought, {sum, weight}, and what has flowed from it to each other
  # node. Two that exchange come to the mean of what they have. Pure.
  #
  # A message says how much has flowed in all, not how much more: so one that is lost, or comes twice or late, changes
  # nothing for good, and a node that dies takes back what it had brought, and no more. Each pair counts its exchanges; an
  # older message does not undo a newer one. Every other time one is asked again who has not answered: it may have moved to
  # the mean without us.

  defstruct value: {0.0, 0.0}, flows: %{}, out: {0.0, 0.0}, waiting: [], again: false

  @type amount :: {float, float}
  @type t :: %__MODULE__{
          value: amount,
          flows: %{term => {non_neg_integer, amount}},
          out: amount,
          waiting: [peer :: term],
          again: boolean
        }
  @type message :: {:ask | :answer, non_neg_integer, amount, amount}

  @spec new(amount) :: t
  def new(value \\ {0.0, 0.0}), do: %__MODULE__{value: value}

  @doc "Brings more."
  @spec add(t, amount) :: t
  def add(flow, amount), do: %{flow | value: plus(flow.value, amount)}

  @doc "What it has now."
  @spec has(t) :: amount
  def has(flow), do: minus(flow.value, flow.out)

  @doc "The average as far as this node knows; nil while it knows nothing."
  @spec estimate(t) :: float | nil
  def estimate(flow) do
    case has(flow) do
      {sum, weight} when weight > 1.0e-9 -> sum / weight
      _ -> nil
    end
  end

  @doc "Whom to ask for the next exchange, and what: a peer that `pick` gives, or one that has not answered."
  @spec ask(t, (() -> term)) :: {term, message, t}
  def ask(%{again: true, waiting: [peer | others]} = flow, _pick),
    do: asked(%{flow | again: false, waiting: others}, peer)

  def ask(flow, pick) do
    peer = pick.()
    asked(%{flow | again: true, waiting: List.delete(flow.waiting, peer)}, peer)
  end

  defp asked(flow, peer) do
    {count, flown} = known(flow, peer)
    {peer, {:ask, count, flown, has(flow)}, %{flow | waiting: flow.waiting ++ [peer]}}
  end

  @doc "Takes a message of a peer: what to send back, or nothing."
  @spec take(t, term, message) :: {message | nil, t}
  def take(flow, peer, {:ask, count, flown, its}) do
    {known, own} = known(flow, peer)

    if count < known do
      # It does not know of the last exchange yet.
      {{:answer, known, negative(own), has(flow)}, flow}
    else
      flow = put(flow, peer, count, negative(flown))
      mine = has(flow)
      half = half(minus(mine, its))
      flow = put(flow, peer, count + 1, plus(negative(flown), half))
      {_count, flown} = known(flow, peer)
      {{:answer, count + 1, negative(flown), has(flow)}, flow}
    end
  end

  def take(flow, peer, {:answer, count, flown, _its}) do
    {known, _own} = known(flow, peer)
    flow = %{flow | waiting: List.delete(flow.waiting, peer)}
    {nil, if(count > known, do: put(flow, peer, count, flown), else: flow)}
  end

  @doc "A peer is gone: what has flowed to it comes back."
  @spec drop(t, term) :: t
  def drop(flow, peer) do
    {_count, flown} = known(flow, peer)
    waiting = List.delete(flow.waiting, peer)
    %{flow | flows: Map.delete(flow.flows, peer), out: minus(flow.out, flown), waiting: waiting}
  end

  defp known(flow, peer), do: Map.get(flow.flows, peer, {0, {0.0, 0.0}})

  defp put(flow, peer, count, flown) do
    {_count, before} = known(flow, peer)
    %{flow | flows: Map.put(flow.flows, peer, {count, flown}), out: plus(minus(flow.out, before), flown)}
  end

  defp plus({a, b}, {c, d}), do: {a + c, b + d}
  defp minus({a, b}, {c, d}), do: {a - c, b - d}
  defp half({a, b}), do: {a / 2, b / 2}
  defp negative({a, b}), do: {-a, -b}
end
