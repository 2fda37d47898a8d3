defmodule Foundation.ClusterStrategies do
  @moduledoc false
  # Strategies for tests, written as users write them.

  defmodule Told do
    @moduledoc false
    # Answers what the test last put into the environment of the node.
    use Foundation.Cluster.Strategy.Poll, interval: 50

    @impl true
    def discover(_state) do
      case Application.get_env(:foundation, :test_told, {:ok, []}) do
        :raise -> raise "no answer"
        answer -> answer
      end
    end
  end

  defmodule Fragile do
    @moduledoc false
    # Does not start until the test lets it.
    use Foundation.Cluster.Strategy

    @impl true
    def start_link([state]) do
      case Application.get_env(:foundation, :test_fragile, :error) do
        :error -> {:error, :not_yet}
        :crash -> raise "not even this"
        :run -> Told.start_link([state])
      end
    end
  end
end

# As the documentation of libcluster has it: a process that is told to connect at its start and now and then.
defmodule LibclusterStyle.Polling do
  @moduledoc false
  use GenServer
  use Cluster.Strategy

  alias Cluster.Strategy.State

  def start_link(args), do: GenServer.start_link(__MODULE__, args)

  @impl true
  def init([%State{meta: nil} = state]), do: init([%State{state | meta: MapSet.new()}])
  def init([%State{} = state]), do: {:ok, load(state), 0}

  @impl true
  def handle_info(:timeout, state), do: handle_info(:load, state)
  def handle_info(:load, %State{} = state), do: {:noreply, load(state)}

  defp load(%State{topology: topology, meta: meta, config: config} = state) do
    new = config |> Keyword.fetch!(:source) |> then(&Application.get_env(:foundation, &1, [])) |> MapSet.new()
    removed = MapSet.difference(meta, new)

    new =
      case Cluster.Strategy.disconnect_nodes(
             topology,
             state.disconnect,
             state.list_nodes,
             MapSet.to_list(removed)
           ) do
        :ok -> new
        {:error, bad} -> Enum.reduce(bad, new, fn {node, _}, acc -> MapSet.put(acc, node) end)
      end

    new =
      case Cluster.Strategy.connect_nodes(topology, state.connect, state.list_nodes, MapSet.to_list(new)) do
        :ok ->
          new

        {:error, bad} ->
          Cluster.Logger.debug(topology, "not connected: #{inspect(bad)}")
          Enum.reduce(bad, new, fn {node, _}, acc -> MapSet.delete(acc, node) end)
      end

    Process.send_after(self(), :load, Keyword.get(config, :polling_interval, 100))
    %State{state | meta: new}
  end
end

# The kind that looks once.
defmodule LibclusterStyle.Once do
  @moduledoc false
  use Cluster.Strategy

  alias Cluster.Strategy.State

  def start_link([%State{config: config} = state]) do
    case Keyword.get(config, :hosts, []) do
      [] ->
        :ignore

      nodes when is_list(nodes) ->
        Cluster.Strategy.connect_nodes(state.topology, state.connect, state.list_nodes, nodes)
        :ignore
    end
  end
end
