defmodule Foundation.MABEAM.Coordination.Conflict do
  @moduledoc false
  # Makes one value of several wishes.

  @type proposal :: %{
          required(:value) => term,
          optional(:agent) => term,
          optional(:at) => integer,
          optional(:weight) => number
        }

  @doc "The winning proposal. What is left to chance elsewhere is decided by the order of agents and values here."
  @spec resolve([proposal], term) :: {:ok, proposal} | {:error, term}
  def resolve([], _how), do: {:error, :no_proposals}

  def resolve(proposals, :last_write_wins),
    do: {:ok, Enum.max_by(proposals, &{Map.get(&1, :at, 0), term(&1)})}

  def resolve(proposals, :first_write_wins),
    do: {:ok, Enum.min_by(proposals, &{Map.get(&1, :at, 0), term(&1)})}

  def resolve(proposals, {:priority, order}) when is_list(order) do
    rank = order |> Enum.with_index() |> Map.new()

    {:ok,
     Enum.min_by(proposals, &{Map.get(rank, &1[:agent], map_size(rank)), -Map.get(&1, :at, 0), term(&1)})}
  end

  # The value with the most weight behind it, if that is more than half.
  def resolve(proposals, :majority) do
    total = proposals |> Enum.map(&Map.get(&1, :weight, 1)) |> Enum.sum()

    {value, weight} =
      proposals
      |> Enum.group_by(& &1.value, &Map.get(&1, :weight, 1))
      |> Enum.map(fn {value, weights} -> {value, Enum.sum(weights)} end)
      |> Enum.max_by(fn {value, weight} -> {weight, value} end)

    if 2 * weight > total,
      do: {:ok, Enum.find(proposals, &(&1.value === value)) || hd(proposals)},
      else: {:error, :no_majority}
  end

  # Numbers only: half of the wishes lie on either side, so that no single wish moves it far.
  def resolve(proposals, :median) do
    if Enum.all?(proposals, &is_number(&1.value)) do
      sorted = Enum.sort_by(proposals, &{&1.value, term(&1)})
      {:ok, Enum.at(sorted, div(length(sorted) - 1, 2))}
    else
      {:error, :not_numbers}
    end
  end

  def resolve(proposals, {:custom, module, function}) when is_atom(module) and is_atom(function) do
    case apply(module, function, [proposals]) do
      {:ok, value} -> {:ok, %{value: value, agent: nil}}
      {:error, reason} -> {:error, reason}
      _other -> {:error, {:bad_return, {module, function, 1}}}
    end
  catch
    kind, reason -> {:error, {:crashed, {kind, reason}}}
  end

  def resolve(_proposals, how), do: {:error, {:unknown_strategy, how}}

  defp term(proposal), do: {proposal[:agent], proposal.value}
end
