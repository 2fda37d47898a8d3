defmodule Foundation.MABEAM.Comms.Directory do
  @moduledoc false
  # On which node an agent is. This node's own agents are looked up; the others' nodes are asked, all at once, and what
  # they say is remembered for some seconds, or until it turns out to be wrong.

  alias Foundation.MABEAM.AgentRegistry.Table
  alias Foundation.Peers

  @table Foundation.MABEAM.Comms.Directory
  @keep_ms 30_000
  @ask_ms 2_000

  def create, do: :ets.new(@table, [:named_table, :public, read_concurrency: true])

  @type place :: {:here, pid, reference, pos_integer} | {:node, node} | {:error, term}

  @doc "Where an agent is."
  @spec find(term, timeout) :: place
  def find(id, timeout) do
    with {:error, :not_found} <- near(id), do: [id] |> far(timeout) |> Map.get(id, {:error, :not_found})
  end

  @doc "Where each of them is; other nodes are asked once for all, within `timeout` ms."
  @spec find_all([term], timeout) :: %{term => place}
  def find_all(ids, timeout) do
    places = Map.new(ids, fn id -> {id, near(id)} end)

    case for({id, {:error, :not_found}} <- places, do: id) do
      [] -> places
      unknown -> Map.merge(places, far(unknown, timeout))
    end
  end

  defp near(id) do
    case Table.live(id) do
      {:ok, pid, gate, limit} -> {:here, pid, gate, limit}
      {:error, :not_found} -> remembered(id)
      error -> error
    end
  end

  defp remembered(id) do
    case :ets.lookup(@table, id) do
      [{_id, node, until}] ->
        if until > now(), do: {:node, node}, else: {:error, :not_found}

      [] ->
        {:error, :not_found}
    end
  end

  defp far(ids, timeout) do
    case Peers.nodes() -- [node()] do
      [] ->
        %{}

      nodes ->
        {answers, _missing} = Peers.ask(nodes, {__MODULE__, :have, [ids]}, min(timeout, @ask_ms))

        for {node, found} when is_list(found) <- answers, id <- found, id in ids, into: %{} do
          :ets.insert(@table, {id, node, now() + @keep_ms})
          {id, {:node, node}}
        end
    end
  end

  @doc "Which of the agents are this node's, running or not."
  @spec have([term]) :: [term]
  def have(ids), do: Enum.filter(ids, &match?({:ok, _}, Table.entry(&1)))

  @doc "The agent was not where it was said to be."
  @spec forget(term) :: true
  def forget(id), do: :ets.delete(@table, id)

  @spec sweep() :: non_neg_integer
  def sweep, do: :ets.select_delete(@table, [{{:_, :_, :"$1"}, [{:<, :"$1", now()}], [true]}])

  defp now, do: System.monotonic_time(:millisecond)
end
