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
          spill_over: pos_integer | :infinity,
          now: integer
        }

  @doc "The policies."
  @spec policies() :: [policy]
  def policies, do: @policies

  @doc "What a target means: a service of that name when there is one, else the capability."
  @spec selection(term) :: Directory.selection()
  def selection({kind, _name} = selection) when kind in [:service, :capability], do: selection

  def selection(name) do
    if not Directory.known?(nil, {:service, name}) and Directory.known?(nil, {:capability, name}),
      do: {:capability, name},
      else: {:service, name}
  end

  @doc "What to pick from, and how; ids that are excluded are passed over."
  @spec request(Directory.selection(), map, [pos_integer]) :: request
  def request(selection, settings, excluded) do
    %{
      selection: selection,
      policy: settings.policy,
      spill_over: settings.spill_over,
      excluded: excluded,
      now: System.monotonic_time(:nanosecond)
    }
  end

  @doc "One provider."
  @spec pick(request) :: {:ok, Directory.provider()} | {:error, :no_provider | :none_healthy | :not_running}
  def pick(%{selection: selection} = request) do
    case Directory.pool(nil, selection) do
      {ids, turn, _registered} ->
        case choose(request.policy, ids, turn, request) do
          nil -> {:error, :none_healthy}
          provider -> {:ok, provider}
        end

      nil ->
        {:error, :no_provider}

      :not_running ->
        {:error, :not_running}
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
    {loads, weights} = Directory.loads(nil, request.selection)
    {start, n} = {random(ids), tuple_size(ids)}

    # The pool may have changed between the two look-ups.
    if tuple_size(loads) == n do
      case least({ids, loads, weights}, start, n, request, nil, nil) do
        nil -> nil
        id -> usable(id, request) || first_usable(ids, start, n, request)
      end
    else
      first_usable(ids, start, n, request)
    end
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

  defp least(_pool, _at, 0, _request, best, _least), do: best

  defp least({ids, loads, weights} = pool, at, left, request, best, least) do
    next = if at + 1 == tuple_size(ids), do: 0, else: at + 1
    load = elem(loads, at)
    mine = (Load.in_flight(load) + 1) / elem(weights, at)

    if (best == nil or mine < least) and not Load.aside?(load, request.now) and
         elem(ids, at) not in request.excluded,
       do: least(pool, next, left - 1, request, elem(ids, at), mine),
       else: least(pool, next, left - 1, request, best, least)
  end

  defp of_two({id}, request, _better), do: usable(id, request)

  defp of_two(ids, request, better) do
    n = tuple_size(ids)
    # One number for both: a pair of different ones.
    pair = :rand.uniform(n * (n - 1)) - 1
    {i, j} = {div(pair, n - 1), rem(pair, n - 1)}
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
    with [] <- request.excluded,
         {_, _, load, _, _} = provider <- Directory.provider(nil, id) do
      if Load.aside?(load, request.now), do: nil, else: provider
    else
      nil -> nil
      excluded -> if id in excluded, do: nil, else: usable(id, %{request | excluded: []})
    end
  end
end
