defmodule Foundation.MABEAM.Coordination.Averaging.Flow do
  @moduledoc false
  # One node's part in averages by gossip: what it has brought, sums and last their weight, and what has flowed from it to
  # each other node. Two that exchange come to the mean of what they have. Pure.
  #
  # A message says how much has flowed in all, not how much more: so one that is lost, or comes twice or late, changes
  # nothing for good, and a node that dies takes back what it had brought, and no more. Each pair counts its exchanges; an
  # older message does not undo a newer one. Every other time one is asked again who has not answered: it may have moved to
  # the mean without us.

  @enforce_keys [:zero, :value, :out]
  defstruct [:zero, :value, :out, flows: %{}, waiting: [], again: false]

  @type amount :: [float, ...]
  @type t :: %__MODULE__{
          value: amount,
          flows: %{term => {non_neg_integer, amount}},
          out: amount,
          waiting: [peer :: term],
          again: boolean
        }
  @type message :: {:ask | :answer, non_neg_integer, amount, amount}

  @doc "Has nothing yet, of so many sums."
  @spec empty(pos_integer) :: t
  def empty(sums), do: new(List.duplicate(0.0, sums + 1))

  @spec new(amount) :: t
  def new(value) do
    zero = Enum.map(value, fn _ -> 0.0 end)
    %__MODULE__{zero: zero, value: value, out: zero}
  end

  @doc "Whether that could be an amount of such averages."
  @spec amount?(t, term) :: boolean
  def amount?(%{zero: zero}, amount),
    do:
      is_list(amount) and List.improper?(amount) == false and length(amount) == length(zero) and
        Enum.all?(amount, &is_float/1)

  @doc "Brings more."
  @spec add(t, amount) :: t
  def add(flow, amount), do: %{flow | value: plus(flow.value, amount)}

  @doc "What it has now."
  @spec has(t) :: amount
  def has(flow), do: minus(flow.value, flow.out)

  @doc "The averages as far as this node knows; nil while it knows nothing."
  @spec estimate(t) :: [float] | nil
  def estimate(flow) do
    {sums, [weight]} = flow |> has() |> Enum.split(-1)
    if weight > 1.0e-9, do: Enum.map(sums, &(&1 / weight))
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

  defp known(flow, peer), do: Map.get(flow.flows, peer, {0, flow.zero})

  defp put(flow, peer, count, flown) do
    {_count, before} = known(flow, peer)
    %{flow | flows: Map.put(flow.flows, peer, {count, flown}), out: plus(minus(flow.out, before), flown)}
  end

  defp plus(one, other), do: Enum.zip_with(one, other, &(&1 + &2))
  defp minus(one, other), do: Enum.zip_with(one, other, &(&1 - &2))
  defp half(amount), do: Enum.map(amount, &(&1 / 2))
  defp negative(amount), do: Enum.map(amount, &(-&1))
end
