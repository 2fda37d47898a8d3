defmodule Foundation.MABEAM.Core.Optimizer.Search do
  @moduledoc false
  # A search as plain data: what it looks for values of, its state in the native library as a binary, the suggestions that
  # wait for a reward, and why the best is the best. Each function gives the next search.

  alias Foundation.MABEAM.Types.{Fields, Variable}
  alias Foundation.Native

  @bandits [:thompson, :ucb1, :exp3]
  @kept 100
  # Beyond, the oldest is given up.
  @open 1_000

  defstruct [:method, :dims, :scale, :sign, :state, told: 0, best: nil, open: %{}, log: []]

  @type t :: %__MODULE__{}

  @spec new(term, map, Variable.t()) :: {:ok, t} | {:error, term}
  def new(method, opts, variable) do
    with {:ok, kind} <- kind(method),
         {:ok, dims} <- dims(kind, opts, variable),
         {:ok, scale} <- scale(kind, opts.reward),
         {:ok, sign} <- sign(opts.goal),
         {:ok, native} <- native(kind, method, dims, opts) do
      state = Native.market_search_dump(native)
      {:ok, %__MODULE__{method: method, dims: dims, scale: scale, sign: sign, state: state}}
    end
  end

  defp kind({:exp3, gamma}) when is_number(gamma) and gamma > 0 and gamma <= 1, do: {:ok, :bandit}
  defp kind(method) when method in @bandits, do: {:ok, :bandit}
  defp kind(method) when method in [:halving, :tpe, :cma_es], do: {:ok, method}

  defp kind(other) do
    expected = ":thompson, :ucb1, :exp3, {:exp3, gamma up to 1}, :halving, :tpe or :cma_es"
    Fields.invalid(:method, other, expected)
  end

  defp native(kind, method, dims, opts) do
    case kind do
      :bandit -> {:bandit, strategy(method), arms(dims)}
      :halving -> {:halving, arms(dims), opts.eta, opts.budget}
      kind -> {kind, Enum.map(dims, fn {_key, dim} -> plain(dim) end)}
    end
    |> Native.market_search_new(opts.seed)
  end

  defp strategy(:exp3), do: {:exp3, 0.1}
  defp strategy(method), do: method

  defp arms([{_key, {:choice, values}}]), do: length(values)

  defp plain({:choice, values}), do: {:choice, length(values)}
  defp plain(range), do: range

  # -- what is searched: [{key | nil, {:choice, values} | {:real | :log | :integer, low, high}}] -----------------------------

  # Bandits and halving choose among values; the others search a space.
  defp dims(kind, opts, variable) when kind in [:bandit, :halving] do
    values = opts.values || values(variable, opts)

    cond do
      not (is_list(values) and not List.improper?(values) and length(values) in 1..10_000) ->
        Fields.invalid(:values, values, "a list of 1 to 10,000 values that the variable may have")

      wrong = Enum.find(values, &(Variable.check(variable, &1) != :ok)) ->
        Fields.invalid(:values, wrong, "what the variable may hold")

      true ->
        {:ok, [{nil, {:choice, values}}]}
    end
  end

  defp dims(kind, %{space: space}, %{type: :value}) when is_list(space) and space != [] do
    with true <- Keyword.keyword?(space) or Enum.all?(space, &match?({_key, _dim}, &1)),
         nil <- Enum.find(space, fn {_key, dim} -> not dim?(kind, dim) end) do
      {:ok, space}
    else
      _ ->
        Fields.invalid(
          :space,
          space,
          "a list of {key, {:real | :log | :integer, low, high} | {:choice, values}}"
        )
    end
  end

  defp dims(:tpe, _opts, %{type: :choice, options: [_, _ | _] = options}),
    do: {:ok, [{nil, {:choice, options}}]}

  defp dims(kind, opts, %{type: :numeric, min: min, max: max})
       when is_number(min) and is_number(max) and min < max do
    dim = {opts.steps, min, max}

    if dim?(kind, dim),
      do: {:ok, [{nil, dim}]},
      else: Fields.invalid(:steps, opts.steps, ":real, :log (above 0), or :integer between whole numbers")
  end

  defp dims(kind, _opts, variable) do
    expected =
      "a :numeric with min and max, a :choice of two or more (not for :cma_es), or a :value with space:"

    Fields.invalid(:variable, {kind, variable.type}, expected)
  end

  defp dim?(:tpe, {:choice, values}),
    do: is_list(values) and not List.improper?(values) and match?([_, _ | _], values)

  defp dim?(_kind, {:integer, low, high}), do: is_integer(low) and is_integer(high) and low < high
  defp dim?(_kind, {:real, low, high}), do: is_number(low) and is_number(high) and low < high
  defp dim?(_kind, {:log, low, high}), do: is_number(low) and is_number(high) and 0 < low and low < high
  defp dim?(_kind, _other), do: false

  defp values(%{type: :choice, options: options}, _opts), do: options

  defp values(%{type: :numeric, min: min, max: max}, %{arms: arms, steps: steps})
       when is_number(min) and is_number(max) and is_integer(arms) and arms in 2..10_000 do
    0..(arms - 1) |> Enum.map(&at(steps, min, max, &1 / (arms - 1))) |> Enum.uniq()
  end

  defp values(_variable, _opts), do: nil

  defp at(:integer, min, max, part), do: round(min + part * (max - min))
  defp at(:log, min, max, part) when min > 0, do: within(min * :math.pow(max / min, part), min, max)
  defp at(_real, min, max, part), do: within(min + part * (max - min), min, max)

  defp within(value, min, max), do: value |> max(min) |> min(max)

  # -- rewards --------------------------------------------------------------------------------------------------------

  defp scale(:bandit, {low, high} = scale) when is_number(low) and is_number(high) and low < high,
    do: {:ok, scale}

  defp scale(:bandit, other), do: Fields.invalid(:reward, other, "{least, most}")
  defp scale(_kind, _any), do: {:ok, nil}

  defp sign(:maximise), do: {:ok, 1}
  defp sign(:minimise), do: {:ok, -1}
  defp sign(other), do: Fields.invalid(:goal, other, ":maximise or :minimise")

  defp score(%{scale: nil, sign: sign}, reward) when abs(reward) <= 1.0e100, do: {:ok, sign * reward}

  defp score(%{scale: {low, high}, sign: sign}, reward) when reward >= low and reward <= high do
    part = (reward - low) / (high - low)
    {:ok, if(sign == 1, do: part, else: 1 - part)}
  end

  defp score(%{scale: nil}, reward), do: Fields.invalid(:reward, reward, "within ±1.0e100")
  defp score(%{scale: {low, high}}, reward), do: Fields.invalid(:reward, reward, "from #{low} to #{high}")

  defp reward(%{scale: nil, sign: sign}, score), do: sign * score
  defp reward(%{scale: {low, high}, sign: 1}, score), do: low + score * (high - low)
  defp reward(%{scale: {low, high}, sign: -1}, score), do: high - score * (high - low)

  # -- steps ----------------------------------------------------------------------------------------------------------

  @doc "What to try next, in the hands of that agent."
  @spec suggest(t, term) :: {:ok, t, map} | {:error, :done | :waiting}
  def suggest(search, by) do
    native = load(search)

    case Native.market_search_ask(native) do
      {:ok, %{id: id, values: values} = found} ->
        value = value(search.dims, values)
        search = %{search | open: Map.put(search.open, id, {value, by})} |> pruned(native)
        answer = %{id: id, value: value, budget: found.budget, probability: found.probability}
        {:ok, %{search | state: Native.market_search_dump(native)}, answer}

      :none ->
        {:ok, status} = Native.market_search_status(native)
        {:error, if(status.done, do: :done, else: :waiting)}
    end
  end

  defp load(search) do
    {:ok, native} = Native.market_search_load(search.state)
    native
  end

  defp pruned(%{open: open} = search, _native) when map_size(open) <= @open, do: search

  defp pruned(%{open: open} = search, native) do
    oldest = open |> Map.keys() |> Enum.min()
    Native.market_search_tell(native, oldest, nil)
    %{search | open: Map.delete(open, oldest)}
  end

  @doc "What a suggestion was worth; it is told by who got it."
  @spec report(t, term, number, term, integer) :: {:ok, t, map} | {:error, term}
  def report(search, id, reward, by, at) do
    with {:ok, value} <- opened(search, id, by), {:ok, score} <- score(search, reward) do
      native = load(search)
      :ok = Native.market_search_tell(native, id, score)
      {:ok, status} = Native.market_search_status(native)
      best = best(search, status.best)
      entry = %{at: at, by: by, id: id, tried: value, reward: reward, best: best.value, mean: best.reward}

      entry =
        Map.merge(entry, %{
          told: status.told,
          why: why(search, best),
          moved: search.best[:value] !== best.value
        })

      search = %{
        search
        | state: Native.market_search_dump(native),
          told: status.told,
          best: best,
          open: Map.delete(search.open, id),
          log: Enum.take([entry | search.log], @kept)
      }

      {:ok, search, entry}
    end
  end

  @doc "Gives a suggestion up."
  @spec abandon(t, term, term) :: {:ok, t, :ok} | {:error, term}
  def abandon(search, id, by) do
    with {:ok, _value} <- opened(search, id, by) do
      native = load(search)
      :ok = Native.market_search_tell(native, id, nil)
      {:ok, %{search | state: Native.market_search_dump(native), open: Map.delete(search.open, id)}, :ok}
    end
  end

  @doc "How far it is; of a bandit with its arms."
  @spec status(t) :: map
  def status(search) do
    native = load(search)
    {:ok, status} = Native.market_search_status(native)

    %{
      method: search.method,
      told: status.told,
      open: map_size(search.open),
      done: status.done,
      best: search.best,
      arms: status.arms && arms(search, status.arms)
    }
  end

  defp arms(%{dims: [{_, {:choice, values}}]} = search, arms) do
    for {value, {pulls, total, _waiting}} <- Enum.zip(values, arms) do
      %{value: value, told: pulls, mean: if(pulls > 0, do: reward(search, total / pulls))}
    end
  end

  defp opened(%{open: open}, id, by) do
    case open do
      %{^id => {value, ^by}} -> {:ok, value}
      %{^id => _other} -> {:error, :not_yours}
      _ -> {:error, :not_found}
    end
  end

  # A halving has a best when its first rung is complete.
  defp best(search, nil), do: search.best || %{value: nil, reward: nil}
  defp best(search, {values, score}), do: %{value: value(search.dims, values), reward: reward(search, score)}

  defp why(_search, %{reward: nil}), do: :rung_not_complete
  defp why(%{method: :halving}, _best), do: :best_of_rung
  defp why(%{method: method}, _best) when method in [:tpe, :cma_es], do: :best_reward
  defp why(_bandit, _best), do: :best_mean

  defp value([{nil, dim}], [number]), do: of(dim, number)

  defp value(dims, numbers),
    do: dims |> Enum.zip(numbers) |> Map.new(fn {{key, dim}, n} -> {key, of(dim, n)} end)

  defp of({:choice, values}, number), do: Enum.at(values, trunc(number))
  defp of({:integer, _, _}, number), do: trunc(number)
  defp of(_real, number), do: number
end
