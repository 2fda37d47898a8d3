defmodule Foundation.MABEAM.Sweeper do
  @moduledoc false
  # Takes away, once a second, what is old in the tables that nobody else owns.

  use GenServer

  alias Foundation.MABEAM.Comms.{Directory, Seen}
  alias Foundation.MABEAM.Coordination

  @every_ms 1_000

  def start_link(_opts), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(nil), do: {:ok, nil, {:continue, :next}}

  @impl true
  def handle_continue(:next, state) do
    Process.send_after(self(), :sweep, @every_ms)
    {:noreply, state}
  end

  @impl true
  def handle_cast(_other, state), do: {:noreply, state}

  @impl true
  def handle_info(:sweep, state) do
    Seen.sweep()
    Directory.sweep()
    Coordination.Table.sweep()
    {:noreply, state, {:continue, :next}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def handle_call(_other, _from, state), do: {:reply, {:error, :unknown_request}, state}
end
