defmodule Foundation.ServiceMesh.Pick do
  @moduledoc false
  # Picks one of the providers of a service or a capability. Reads tables and atomics in the caller; asks nobody.

  alias Foundation.Distributed.Discovery.{Directory, Load, Weights}

  @policies [:round_robin, :weighted, :least_loaded, :p2c_ewma, :locality_aware, :health_based]
  # Two that fail as often as each other, to one in a hundred calls, are told apart by their cost.
  @alike 10_000

  @type policy :: :round_robin | :weighted | :least_loaded | :p2c_ewma | :locality_aware | :health_based
  @type request :: %{
          selection: Directory.selection(),
          policy: policy,
          excluded: [pos_integer],
          spill_over: pos_integer | :infinity
        }

  @doc "The policies."
  @spec policies() :: [policy]
  def policies, do: @policies

  @doc "What a target means: a service of that name when there is one, else the capability."
  @spec selection(term) :: Directory.selection()
  def selection({kind, _name} = selection) when kind in [:service, :capability], do: selection

  def selection(name) do
    with nil <- Directory.pool(nil, {:service, name}),
         {_, _, _} <- Directory.pool(nil, {:capability, name}) do
      {:capability, name}
    else
      _ -> {:service, name}
    end
  end

  @doc "One provider."
  @spec pick(request) :: {:ok, Directory.provider()} | {:error, :no_provider | :none_healthy | :not_running}
  def pick(%{selection: selection} = request) do
    case Directory.pool(nil, selection) do
      nil ->
        {:error, :no_provider}

      :not_running ->
        {:error, :not_running}

      {ids, turn, _registered} ->
        request = Map.put(request, :now, System.monotonic_time())

        case choose(request.policy, ids, turn, request) do
          nil -> {:error, :none_healthy}
          provider -> {:ok, provider}
        end
    end
  end

  defp choose(_policy, {}, _turn, _request), do: nil
  defp choose(_policy, {id}, _turn, request), do: usable(id, request)

  defp choose(:round_robin, ids, turn, request) do
    first = rem(:atomics.add_get(turn, 1, 1), tuple_size(ids))
    first_usable(ids, first, tuple_size(ids), request)
  end

  defp choose(:p2c_ewma, ids, _turn, request), do: of_two(ids, request, &cheaper/3)
  defp choose(:health_based, ids, _turn, request), do: of_two(ids, request, &healthier/3)

  defp choose(:weighted, ids, _turn, request) do
    case Directory.weights(nil, request.selection) do
      nil -> first_usable(ids, random(ids), tuple_size(ids), request)
      weights -> weighted(ids, weights, request, 3)
    end
  end

  defp choose(:least_loaded, ids, _turn, request) do
    {start, n} = {random(ids), tuple_size(ids)}
    least_loaded(ids, start, n, request, nil, nil)
  end

  # The nearest of this node, its zone and the rest that has one with room.
  defp choose(:locality_aware, ids, turn, request) do
    {here, zone} = Directory.near(nil, request.selection)
    roomy = fn {_, _, load, weight, _} -> room?(load, weight, request.spill_over) end

    roomy_in(here, request, roomy) || roomy_in(zone, request, roomy) || choose(:p2c_ewma, ids, turn, request)
  end

  defp roomy_in({}, _request, _roomy), do: nil

  defp roomy_in(ids, request, roomy) do
    with {_, _, _, _, _} = provider <- of_two(ids, request, &cheaper/3),
         do: if(roomy.(provider), do: provider)
  end

  defp room?(_load, _weight, :infinity), do: true
  defp room?(load, weight, most), do: Load.in_flight(load) < most * weight

  defp weighted(ids, _weights, request, 0), do: by_share(ids, request)

  defp weighted(ids, weights, request, tries) do
    # The pool may have changed between the two look-ups.
    case Weights.pick(weights) do
      at when at < tuple_size(ids) ->
        usable(elem(ids, at), request) || weighted(ids, weights, request, tries - 1)

      _ ->
        weighted(ids, weights, request, tries - 1)
    end
  end

  # Exact, where chance has hit none that is usable.
  defp by_share(ids, request) do
    case for(id <- Tuple.to_list(ids), provider = usable(id, request), do: provider) do
      [] ->
        nil

      providers ->
        sum = providers |> Enum.map(&elem(&1, 3)) |> Enum.sum()
        at_share(providers, :rand.uniform(sum))
    end
  end

  defp at_share([{_, _, _, weight, _} = provider | _], left) when left <= weight, do: provider
  defp at_share([{_, _, _, weight, _} | rest], left), do: at_share(rest, left - weight)

  defp least_loaded(_ids, _at, 0, _request, best, _load), do: best

  defp least_loaded(ids, at, left, request, best, least) do
    next = if at + 1 == tuple_size(ids), do: 0, else: at + 1

    with {_, _, load, weight, _} = provider <- usable(elem(ids, at), request),
         mine when best == nil or mine < least <- (Load.in_flight(load) + 1) / weight do
      least_loaded(ids, next, left - 1, request, provider, mine)
    else
      _ -> least_loaded(ids, next, left - 1, request, best, least)
    end
  end

  defp of_two({}, _request, _better), do: nil
  defp of_two({id}, request, _better), do: usable(id, request)

  defp of_two(ids, request, better) do
    n = tuple_size(ids)
    {i, j} = {:rand.uniform(n) - 1, :rand.uniform(n - 1) - 1}
    j = if j >= i, do: j + 1, else: j

    case {usable(elem(ids, i), request), usable(elem(ids, j), request)} do
      {nil, nil} -> first_usable(ids, i, n, request)
      {one, nil} -> one
      {nil, other} -> other
      {one, other} -> better.(one, other, request.now)
    end
  end

  defp cheaper({_, _, a, weight_a, _} = one, {_, _, b, weight_b, _} = other, now),
    do: if(Load.cost(a, now, weight_a) <= Load.cost(b, now, weight_b), do: one, else: other)

  defp healthier({_, _, a, _, _} = one, {_, _, b, _, _} = other, now) do
    case Load.failing(a) - Load.failing(b) do
      more when more > @alike -> other
      less when less < -@alike -> one
      _ -> cheaper(one, other, now)
    end
  end

  defp first_usable(_ids, _at, 0, _request), do: nil

  defp first_usable(ids, at, left, request) do
    next = if at + 1 == tuple_size(ids), do: 0, else: at + 1
    usable(elem(ids, at), request) || first_usable(ids, next, left - 1, request)
  end

  defp random(ids), do: :rand.uniform(tuple_size(ids)) - 1

  defp usable(id, request) do
    with false <- id in request.excluded,
         {_, _, load, _, _} = provider <- Directory.provider(nil, id),
         false <- Load.aside?(load, System.convert_time_unit(request.now, :native, :millisecond)) do
      provider
    else
      _ -> nil
    end
  end
end
