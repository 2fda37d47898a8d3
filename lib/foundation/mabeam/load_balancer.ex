defmodule Foundation.MABEAM.LoadBalancer do
  @moduledoc """
  Gives a request to the agent that has the least to do, of those that can do it.

      {:ok, :bob, {:done, result}} = LoadBalancer.request([capabilities: [:summarise]], {:task, text})

  An agent's load is how many requests wait in its mailbox, and one more while a callback runs: it is read, not asked for.
  Strategies: `:least_loaded` looks at all; `:two_choices` at two by chance, which is nearly as good and spreads the requests of
  many callers at once (Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 2001); `:round_robin` takes one
  after the other. Of those equally loaded one is taken by chance.

  **Scheduling**: no function here calls the native library.
  """

  alias Foundation.MABEAM.Agent.Gate
  alias Foundation.MABEAM.AgentRegistry.Table
  alias Foundation.MABEAM.{AgentRegistry, Comms, Types}
  alias Foundation.MABEAM.Types.Request
  alias Foundation.Peers

  @strategies [:least_loaded, :two_choices, :round_robin]
  @ask_ms 2_000
  # A request that was refused with one of these was not begun.
  @next [:busy, :not_found, :not_started, :draining, :stopping]

  @doc """
  The agent to give something to: `{:ok, id}`.

  `criteria` are those of `Foundation.MABEAM.AgentRegistry.find_agents/1`, of running agents; `node:` as there (this node). Options: `strategy:`
  (`:least_loaded`). Errors: `:no_agent`. O(agents), with other nodes a round to them.
  """
  @spec choose(keyword, keyword) :: {:ok, Types.agent_id()} | {:error, :no_agent}
  def choose(criteria, opts \\ []) do
    case criteria |> loads() |> order(strategy!(opts)) do
      [] -> {:error, :no_agent}
      [id | _] -> {:ok, id}
    end
  end

  @doc """
  Makes a request of the agent that `choose/2` would give, and of the next when it is refused before it was begun: `{:ok, id, reply}`.

  Options: `strategy:`, and those of `Foundation.MABEAM.Comms.request/3`. Errors: `:no_agent`, `{:all_refused, %{id => reason}}`, `{id, reason}` of the one that began. As
  `choose/2`, and the request.
  """
  @spec request(keyword, Request.t() | {Request.kind(), term}, keyword) ::
          {:ok, Types.agent_id(), Request.reply()} | {:error, term}
  def request(criteria, request, opts \\ []) do
    strategy = strategy!(opts)
    opts = Keyword.delete(opts, :strategy)

    case criteria |> loads() |> order(strategy) do
      [] -> {:error, :no_agent}
      ids -> try_each(ids, request, opts, %{})
    end
  end

  defp try_each([], _request, _opts, refused), do: {:error, {:all_refused, refused}}

  defp try_each([id | rest], request, opts, refused) do
    case Comms.request(id, request, opts) do
      {:ok, reply} -> {:ok, id, reply}
      {:error, reason} when reason in @next -> try_each(rest, request, opts, Map.put(refused, id, reason))
      {:error, reason} -> {:error, {id, reason}}
    end
  end

  @doc "The loads of running agents that fit: `%{id => load}`. As `choose/2`."
  @spec loads(keyword) :: %{Types.agent_id() => non_neg_integer}
  def loads(criteria) do
    {where, criteria} = Keyword.pop(criteria, :node, node())

    if where == node() do
      here(criteria)
    else
      nodes = if where == :all, do: Peers.nodes(), else: [where]
      {answers, _missing} = Peers.ask(nodes, {__MODULE__, :here, [criteria]}, @ask_ms)
      Enum.reduce(answers, %{}, fn {_node, loads}, all -> Map.merge(loads, all) end)
    end
  end

  @doc false
  def here(criteria) do
    for id <- AgentRegistry.find_agents([status: :running] ++ criteria),
        {:ok, _pid, gate, _limit} <- [Table.live(id)],
        into: %{},
        do: {id, max(Gate.waiting(gate), 0) + if(Gate.busy?(gate), do: 1, else: 0)}
  end

  # Best first, all of them.
  defp order(loads, :least_loaded), do: loads |> Enum.shuffle() |> by_load()

  defp order(loads, :two_choices) do
    {two, rest} = loads |> Enum.shuffle() |> Enum.split(2)
    by_load(two) ++ by_load(rest)
  end

  defp order(loads, :round_robin) when loads == %{}, do: []

  defp order(loads, :round_robin) do
    ids = loads |> Map.keys() |> Enum.sort()
    {before, from} = Enum.split(ids, rem(System.unique_integer([:positive, :monotonic]), length(ids)))
    from ++ before
  end

  defp by_load(loads), do: loads |> Enum.sort_by(&elem(&1, 1)) |> Enum.map(&elem(&1, 0))

  defp strategy!(opts) do
    strategy = Keyword.get(opts, :strategy, :least_loaded)

    if strategy in @strategies,
      do: strategy,
      else:
        raise(ArgumentError, "strategy: must be one of #{inspect(@strategies)}, got: #{inspect(strategy)}")
  end
end
