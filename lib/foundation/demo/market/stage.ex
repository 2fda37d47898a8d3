defmodule Foundation.Demo.Market.Stage do
  @moduledoc false
  # What the market stands on: on each node a member of the coordination group and MABEAM, with room for
  # agents that are placed in the cluster; the agents; the shared variable; on this node the ledger. All of
  # it is in memory and ends with the market.

  alias Foundation.Demo.Market.{Analyst, Batch, Books}
  alias Foundation.Distributed.Consensus
  alias Foundation.DistributedSupervisor
  alias Foundation.MABEAM
  alias Foundation.MABEAM.AgentRegistry

  @open_ms 40_000
  @poll_ms 50
  # How long after the last sign of life of its node an agent may begin elsewhere.
  @session_ms 3_000
  @down_ms 200
  @task_ms 120_000
  @supervisor MABEAM.Placed

  # Wages and budgets in millionths of a unit: a second of work, and what it begins with.
  @agents [
    {"ada", %{skills: [:erlang, :machine_code], hands: 2, wage: 1_600_000}, 20_000_000},
    {"bob", %{skills: [:elixir], hands: 1, wage: 800_000}, 6_000_000},
    {"cleo", %{skills: [:erlang], hands: 1, wage: 1_000_000}, 8_000_000},
    {"dan", %{skills: [:elixir, :erlang], hands: 2, wage: 2_000_000}, 30_000_000},
    {"eve", %{skills: [:erlang, :elixir, :machine_code], hands: 1, wage: 1_200_000}, 12_000_000},
    {"finn", %{skills: [:erlang, :machine_code], hands: 1, wage: 900_000}, 4_000_000}
  ]

  @doc "The agents: `{id, profile, budget}`."
  def agents, do: @agents
  def ids, do: for({id, _profile, _budget} <- @agents, do: id)

  @doc "Sets it up on these nodes, this one among them; what the lots will be paid for is in the house's account."
  @spec open([node], [Foundation.Demo.Market.Lots.t()]) :: :ok | {:error, term}
  def open(nodes, lots) do
    fees = lots |> Enum.map(& &1.fee) |> Enum.sum()

    with :ok <- everywhere(nodes, :enter, [nodes]),
         :ok <- await(fn -> everywhere(nodes, :ready, [Enum.sort(nodes)]) end, @open_ms),
         :ok <- everywhere([node()], :share, []),
         :ok <- everywhere(nodes -- [node()], :share, []),
         :ok <- Books.open(Map.new(@agents, fn {id, _profile, budget} -> {id, budget} end), fees) do
      place(lots)
    end
  end

  defp everywhere(nodes, function, arguments) do
    nodes
    |> :erpc.multicall(__MODULE__, function, arguments, @open_ms)
    |> Enum.zip(nodes)
    |> Enum.find_value(:ok, fn
      {{:ok, :ok}, _node} -> nil
      {{:ok, {:error, reason}}, _node} -> {:error, reason}
      {failure, node} -> {:error, {node, failure}}
    end)
  end

  @doc false
  def enter(nodes) do
    Application.put_env(:foundation, :coordination, session_ms: @session_ms)

    with {:ok, _group} <- Consensus.start_group(Consensus.default_group(), members: nodes),
         {:ok, _pid} <- MABEAM.start(placement: [placement: :least_load, down_after: @down_ms]),
         do: :ok
  end

  @doc false
  def ready(nodes) do
    with {:ok, _agents} <- AgentRegistry.placed_agents() do
      there = DistributedSupervisor.nodes(@supervisor)
      if there == nodes, do: :ok, else: {:error, {:nodes, there}}
    end
  end

  @doc false
  def share, do: Batch.share()

  defp place(lots) do
    Enum.find_value(@agents, :ok, fn {id, profile, _budget} ->
      profile = Map.put(profile, :reference, reference(lots, profile.skills))

      attributes = [
        module: Analyst,
        args: profile,
        type: :analyst,
        capabilities: profile.skills,
        snapshot_every: 1,
        callback_timeout: @task_ms
      ]

      with :ok <- AgentRegistry.place_agent(id, attributes), do: nil
    end)
  end

  # A module of middling size, of those that it will have to do with.
  defp reference(lots, skills) do
    units = for lot <- lots, lot.kind in skills, unit <- lot.units, do: unit
    units = if units == [], do: Enum.flat_map(lots, & &1.units), else: units
    units |> Enum.sort_by(& &1.bytes) |> Enum.at(div(length(units), 2)) |> Map.fetch!(:path)
  end

  @doc "Where the agents run, those that do: the nodes themselves are asked."
  @spec places() :: %{String.t() => node}
  def places do
    for node <- [node() | Node.list()],
        id <- AgentRegistry.find_agents(node: node, type: :analyst, status: :running),
        into: %{},
        do: {id, node}
  end

  @doc "Waits until all agents run somewhere; where they do then."
  @spec await_agents(pos_integer) :: %{String.t() => node}
  def await_agents(timeout) do
    _ = await(fn -> if map_size(places()) == length(@agents), do: :ok, else: {:error, :missing} end, timeout)
    places()
  end

  @doc "The value of the shared variable as each of these nodes reads it."
  @spec values([node]) :: [{node, pos_integer | nil}]
  def values(nodes) do
    for {answer, node} <- nodes |> :erpc.multicall(Batch, :value, [], @open_ms) |> Enum.zip(nodes) do
      {node, with({:ok, value} <- answer, do: value, else: (_ -> nil))}
    end
  end

  @doc "Takes it down on this node; the others end."
  @spec close() :: :ok
  def close do
    MABEAM.stop()
    _ = Consensus.stop_group(Consensus.default_group())
    Application.delete_env(:foundation, :coordination)
  end

  defp await(condition, timeout), do: await_until(condition, System.monotonic_time(:millisecond) + timeout)

  defp await_until(condition, deadline) do
    with {:error, reason} <- condition.() do
      if System.monotonic_time(:millisecond) > deadline do
        {:error, {:not_ready, reason}}
      else
        receive do
        after
          @poll_ms -> await_until(condition, deadline)
        end
      end
    end
  end
end
