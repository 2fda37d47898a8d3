defmodule Foundation.Cluster.Strategy.Poll do
  @moduledoc """
  Asks for the nodes again and again, and keeps what it knows when the answer is an error: the loop of a strategy that
  polls.

      defmodule MyApp.Strategy do
        use Foundation.Cluster.Strategy.Poll, leaves: true, interval: 5_000

        @impl true
        def discover(%Foundation.Cluster.Strategy.State{config: config} = state) do
          {:ok, [:"a@host", :"b@host"], state}
        end
      end

  `c:discover/1` answers `{:ok, nodes}` or `{:error, reason}`, each also with a new state as third element, to keep
  something in `meta`. It runs in the strategy's own process, at once when the strategy starts, then each
  `polling_interval` ms of the strategy's configuration (by default `interval:`, 5,000), spread by a tenth either way.
  After an error the next try comes after 500 ms, and then after twice as long each time, up to the interval or 30 s,
  whichever is longer. A `c:discover/1` that raises has answered with that error.

  With `leaves: true` (the default) a node that is missing in a good answer is given up; it is disconnected when no other
  strategy wants it and `leave_after` has passed. With `leaves: false` it is merely looked for no longer: for those
  sources where missing says little, as in epmd. Nodes found are connected in processes of their own; the loop
  does not wait for them.
  """

  use GenServer

  alias Foundation.Cluster.Strategy
  alias Foundation.Cluster.Strategy.State

  @first_retry_ms 500
  @longest_retry_ms 30_000

  @type answer :: {:ok, [node]} | {:error, term} | {:ok, [node], State.t()} | {:error, term, State.t()}

  @doc "Asks for the nodes."
  @callback discover(State.t()) :: answer

  @doc false
  defmacro __using__(opts) do
    quote do
      use Foundation.Cluster.Strategy
      @behaviour Foundation.Cluster.Strategy.Poll

      @impl Foundation.Cluster.Strategy
      def start_link([state]),
        do: Foundation.Cluster.Strategy.Poll.start_link(__MODULE__, state, unquote(opts))

      defoverridable start_link: 1
    end
  end

  @doc "Starts the loop of a strategy module. Options: `leaves:` (`true`), `interval:` (5,000 ms)."
  @spec start_link(module, State.t(), keyword) :: GenServer.on_start()
  def start_link(module, %{config: config} = state, opts \\ []) do
    loop = %{
      module: module,
      state: state,
      known: MapSet.new(),
      failures: 0,
      interval: Keyword.get(config, :polling_interval, Keyword.get(opts, :interval, 5_000)),
      leaves: Keyword.get(opts, :leaves, true)
    }

    GenServer.start_link(__MODULE__, loop)
  end

  @impl true
  def init(loop), do: {:ok, loop, {:continue, :round}}

  @impl true
  def handle_continue(:round, loop), do: turn(loop)

  @impl true
  def handle_info(:round, loop), do: turn(loop)
  def handle_info(_other, loop), do: {:noreply, loop}

  if {:format_status, 1} in GenServer.behaviour_info(:callbacks), do: @impl(GenServer)
  @doc false
  # What goes into logs when the process ends badly.
  def format_status(status),
    do: Map.replace_lazy(status, :state, fn loop -> %{loop | state: loop.state.topology} end)

  defp turn(loop) do
    loop = loop |> ask() |> apply_answer()
    Process.send_after(self(), :round, pause(loop))
    {:noreply, loop, :hibernate}
  end

  defp ask(%{module: module, state: state} = loop) do
    case module.discover(state) do
      {result, value, state} when result in [:ok, :error] -> {{result, value}, %{loop | state: state}}
      {result, value} when result in [:ok, :error] -> {{result, value}, loop}
    end
  rescue
    error -> {{:error, {:raised, error.__struct__, Exception.message(error)}}, loop}
  catch
    :exit, reason -> {{:error, {:exit, reason}}, loop}
  end

  defp apply_answer({{:ok, nodes} = result, loop}) do
    found = nodes |> MapSet.new() |> MapSet.delete(node())
    Strategy.report(loop.state, result)
    loop.known |> MapSet.difference(found) |> MapSet.to_list() |> gone(loop)
    found |> MapSet.to_list() |> connect(loop.state)
    %{loop | known: found, failures: 0}
  end

  defp apply_answer({{:error, _} = result, loop}) do
    Strategy.report(loop.state, result)
    %{loop | failures: loop.failures + 1}
  end

  defp gone([], _loop), do: :ok
  defp gone(nodes, %{leaves: false, state: state}), do: Strategy.release(state, nodes)

  defp gone(nodes, %{state: state}) do
    Strategy.disconnect_nodes(state.topology, state.disconnect, state.list_nodes, nodes)
    Strategy.release(state, nodes)
  end

  defp connect([], _state), do: :ok

  defp connect(nodes, state) do
    spawn(fn -> Strategy.connect_nodes(state.topology, state.connect, state.list_nodes, nodes) end)
    :ok
  end

  defp pause(%{failures: 0, interval: interval}), do: spread(interval, 10)

  defp pause(%{failures: failures, interval: interval}) do
    longest = max(interval, @longest_retry_ms)
    spread(min(@first_retry_ms * Integer.pow(2, min(failures - 1, 10)), longest), 4)
  end

  # Up to a part of it, either way.
  defp spread(ms, part), do: max(ms - div(ms, part) + :rand.uniform(div(2 * ms, part) + 1) - 1, 1)
end
