defmodule Foundation.PoolWorker do
  @moduledoc false
  # A pool's worker that does as it is told.
  use GenServer

  def start_link({:fail, reason}), do: {:error, reason}

  def start_link({:count, counter}) do
    :counters.add(counter, 1, 1)
    start_link([])
  end

  def start_link(argument), do: GenServer.start_link(__MODULE__, argument)

  def ping(worker), do: GenServer.call(worker, :ping)
  def crash(worker, reason), do: GenServer.call(worker, {:crash, reason})

  @impl true
  def init(argument), do: {:ok, argument}

  @impl true
  def handle_call(:ping, _from, state), do: {:reply, :pong, state}
  def handle_call({:crash, reason}, _from, state), do: {:stop, reason, state}
end
