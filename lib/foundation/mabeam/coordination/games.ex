defmodule Foundation.MABEAM.Coordination.Games do
  @moduledoc """
  Works out what game theory says of a situation: equilibria, dominated strategies, fair shares, matchings, divisions.

      prisoners = {[[-1, -3], [0, -2]], [[-1, 0], [-3, -2]]}
      {:ok, %{profiles: [both_confess]}} = Games.nash(prisoners)
      both_confess.row   # [0.0, 1.0]

  A game of two is `{row_payoffs, column_payoffs}`, two lists of rows of the same shape: what the row player and the column player get,
  for each strategy of the row player (a row) against each of the column player. A mixed strategy is a list of probabilities. Strategies,
  players and goods are counted from 0 in games and have names elsewhere.

  Functions that take `timeout:` (ms, 5,000) stop there: `{:error, :stopped}` unless they say otherwise. Further errors: `{:invalid, what}` and
  `{:too_large, what}`; ArgumentError for what is not of the shape that is documented.

  **Scheduling**: dirty CPU, one call each; sampled Shapley shares one for each order of arrival.
  """

  alias Foundation.MABEAM.Coordination.Games.{Division, Input, Shares}
  alias Foundation.Native

  @type payoffs :: [[number]]
  @type game :: {payoffs, payoffs}
  @type mix :: [float]
  @type profile :: %{row: mix, column: mix}
  @type error :: {:error, :stopped | :overflow | {:invalid | :too_large, atom}}

  @doc """
  Nash equilibria: `{:ok, %{profiles: [profile], complete: boolean, degenerate: boolean}}`.

  All supports are enumerated: `complete` says that none is left out, and is false when the time was over; a `degenerate` game may have
  infinitely many, of which those at the corners are found. With `method: {:lemke_howson, label}` one equilibrium is
  followed from a label (0 to rows + columns - 1), for games too large to enumerate. Sources: Nash 1951; Lemke and Howson 1964;
  Porter, Nudelman and Shoham 2008.
  """
  @spec nash(game, keyword) ::
          {:ok, %{profiles: [profile], complete: boolean, degenerate: boolean}} | error
  def nash(game, opts \\ []) do
    {game, limits} = Input.game!(game, opts, [:method])

    case Keyword.get(opts, :method, :supports) do
      :supports ->
        with {:ok, found} <- Native.market_game(:nash, game, limits),
             do: {:ok, %{found | profiles: Enum.map(found.profiles, &profile/1)}}

      {:lemke_howson, label} when label in 0..1_000_000 ->
        with {:ok, found} <- Native.market_game({:lemke_howson, label}, game, limits),
             do: {:ok, %{profiles: [profile(found)], complete: false, degenerate: false}}

      other ->
        Input.bad!(:method, other, ":supports or {:lemke_howson, label}")
    end
  end

  defp profile({row, column}), do: %{row: row, column: column}

  @doc """
  What is left when strictly dominated strategies are struck out, again and again, mixed dominance included: `{:ok, %{rows: [n], columns:
  [n], dominated: %{rows: [n], columns: [n]}, rounds: n}}`. The order does not matter (Gilboa, Kalai and Zemel 1990).
  """
  @spec dominated(game, keyword) :: {:ok, map} | error
  def dominated(game, opts \\ []) do
    {{rows, columns, _, _} = game, limits} = Input.game!(game, opts)

    with {:ok, %{rows: left, cols: down, rounds: rounds}} <- Native.market_game(:undominated, game, limits) do
      gone = %{rows: Enum.to_list(0..(rows - 1)) -- left, columns: Enum.to_list(0..(columns - 1)) -- down}
      {:ok, %{rows: left, columns: down, dominated: gone, rounds: rounds}}
    end
  end

  @doc """
  The correlated equilibrium with the largest sum of payoffs, by linear programming (Aumann 1974): `{:ok, %{probabilities: rows, payoffs: {row,
  column}}}`, the probability of each pair of strategies that somebody draws and tells each player its own part of. `weights: {1, 1}` says how much
  a unit of each counts in the sum.
  """
  @spec correlated(game, keyword) :: {:ok, %{probabilities: [mix], payoffs: {float, float}}} | error
  def correlated(game, opts \\ []) do
    {game, limits} = Input.game!(game, opts, [:weights])
    {one, other} = Input.pair!(:weights, Keyword.get(opts, :weights, {1, 1}))
    Native.market_game({:correlated, one, other}, game, limits)
  end

  @doc """
  Fictitious play: each answers best to what the other has done so far (Brown 1951): `{:ok, %{row: mix, column: mix, regret: r, rounds: n}}`, how
  often each strategy was played. `regret` is how much a player could still gain; in zero-sum games and 2 × n games it goes to 0
  (Robinson 1951, Berger 2005), in others it need not (Shapley 1964). Options: `rounds:` 10,000, `tolerance:` 0.001.
  """
  @spec fictitious_play(game, keyword) :: {:ok, map} | error
  def fictitious_play(game, opts \\ []) do
    {game, limits} = Input.game!(game, opts, [:rounds, :tolerance])
    rounds = Input.natural!(:rounds, Keyword.get(opts, :rounds, 10_000))
    tolerance = Input.number!(:tolerance, Keyword.get(opts, :tolerance, 1.0e-3))
    Native.market_game({:fictitious_play, rounds, tolerance}, game, limits)
  end

  @doc """
  Replicator dynamics of two populations from `start`, `{row_mix, column_mix}`: what does better than the mean grows (Taylor and Jonker 1978).
  `{:ok, %{row: mix, column: mix, regret: r, rounds: n}}`. Options: `step:` 0.1, `rounds:` 10,000, `tolerance:` 1.0e-9.
  """
  @spec replicator(game, {mix, mix}, keyword) :: {:ok, map} | error
  def replicator(game, start, opts \\ []) do
    {game, limits} = Input.game!(game, opts, [:step, :rounds, :tolerance])
    start = Input.mixes!(start, game)
    step = Input.number!(:step, Keyword.get(opts, :step, 0.1))
    rounds = Input.natural!(:rounds, Keyword.get(opts, :rounds, 10_000))
    tolerance = Input.number!(:tolerance, Keyword.get(opts, :tolerance, 1.0e-9))
    Native.market_game({:replicator, start, step, rounds, tolerance}, game, limits)
  end

  @doc """
  The value of a zero-sum game and strategies that guarantee it, by linear programming (von Neumann 1928): `{:ok, %{value: v, row: mix, column: mix}}`.
  `payoffs` are what the row player gets.
  """
  @spec minimax(payoffs, keyword) :: {:ok, %{value: float, row: mix, column: mix}} | error
  def minimax(payoffs, opts \\ []) do
    limits = Input.limits!(opts, [])
    {rows, columns, flat} = Input.matrix!(:payoffs, payoffs)
    Native.market_minimax(rows, columns, flat, limits)
  end

  @doc """
  Shares of what all earn together, each the mean of what a player adds over all orders of arrival (Shapley 1953): `{:ok, %{player => millionths}}`,
  which sum up to what all earn.

  `worth` is a function of a list of players, in the order of `players`, or a map from such lists, and gives whole numbers; nobody earns 0, and what a map
  lacks is 0. Exact, for at most 20 players; it asks for 2^players worths, in the calling process.
  """
  @spec shapley([term], ([term] -> integer) | %{[term] => integer}, keyword) ::
          {:ok, %{term => integer}} | error
  def shapley(players, worth, opts \\ []), do: Shares.exact(players, worth, opts)

  @doc """
  As `shapley/3`, for any number of players, from a sample of the orders of arrival: `{:ok, %{player => %{share: s, within: w}}}`.

  The true share of each player lies within `w` of `s` with probability 1 - `delta:` (0.05), by the bounds of Hoeffding and of Maurer and
  Pontil (2009). Options: `samples:` 1,000 orders; `low:` and `high:`, required, what a player adds at least and at most; `seed:` 0. Errors besides: `{:out_of_bounds,
  {player, added}}`. Castro, Gómez and Tejada 2009. It asks for samples · players worths, in the calling process.
  """
  @spec shapley_sampled([term], ([term] -> number) | %{[term] => number}, keyword) ::
          {:ok, %{term => %{share: float, within: float}}}
          | error
          | {:error, {:out_of_bounds, {term, number}}}
  def shapley_sampled(players, worth, opts), do: Shares.sampled(players, worth, opts)

  @doc """
  A matching in which no two would rather have each other than whom they have: `{:ok, %{pairs: %{first => second}, unmatched: {firsts, seconds},
  proposals: n}}`.

  `firsts` and `seconds` are maps from name to the names of the other side that it accepts, best first. `places:` a map from a second to how many
  firsts it takes (1). `proposing:` `:firsts` (the default) or `:seconds`: those have the best partners that any stable matching gives them, and gain
  nothing by lying (Gale and Shapley 1962; Dubins and Freedman 1981).
  """
  @spec stable_matching(%{term => [term]}, %{term => [term]}, keyword) :: {:ok, map} | error
  def stable_matching(firsts, seconds, opts \\ []), do: Division.matching(firsts, seconds, opts)

  @doc """
  Divides goods among players, each with worths for them: `values` is a map from player to a map from good to a number.

    * `:adjusted_winner`, two players, points in whole numbers, of both with the same sum: `{:ok, %{player => %{good => {part, whole}}}}`; at most
      one good is divided; envy-free, efficient, equitable (Brams and Taylor 1996);
    * `:round_robin`, any number, worths in whole numbers: `{:ok, %{player => [good]}}`; envy-free up to one good (Caragiannis et al. 2019). Players
      choose in the order of their names.
  """
  @spec fair_division(:adjusted_winner | :round_robin, %{term => %{term => integer}}) :: {:ok, map} | error
  def fair_division(rule, values), do: Division.goods(rule, values)

  @doc """
  Divides one thing that can be cut anywhere, a line from 0 to 1: `{:ok, [%{player: p, from: a, to: b, share: of its own worth}]}`. `values` is a map from
  player to a list of the worths of equal pieces of it, as many for each.

    * `:divide_and_choose`, two players: the first by name cuts, the other chooses; envy-free (Steinhaus 1948);
    * `:moving_knife`, any number: each has at least 1/n by its own worth (Dubins and Spanier 1961).
  """
  @spec cut(:divide_and_choose | :moving_knife, %{term => [number]}) :: {:ok, [map]} | error
  def cut(rule, values), do: Division.cake(rule, values)
end
