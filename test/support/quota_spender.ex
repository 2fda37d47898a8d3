defmodule Foundation.QuotaSpender do
  @moduledoc false
  # Spends a shared limit on another node as fast as it can, and notes when, by the clock of the machine.
  use GenServer

  alias Foundation.Infrastructure.Limits

  @burst 200

  def start(key, costs), do: GenServer.start(__MODULE__, {key, costs})

  @doc "When each demand was granted, in ms since 1970, the last first."
  def granted(pid), do: GenServer.call(pid, :granted)

  @impl true
  def init({key, costs}) do
    send(self(), :spend)
    {:ok, %{key: key, costs: costs, granted: []}}
  end

  @impl true
  def handle_call(:granted, _from, state), do: {:reply, state.granted, state}

  @impl true
  def handle_info(:spend, state) do
    Process.send_after(self(), :spend, 5)
    {:noreply, spend(state, @burst)}
  end

  defp spend(state, 0), do: state

  defp spend(state, left) do
    case Limits.acquire(state.key, state.costs) do
      :ok -> spend(%{state | granted: [System.system_time(:millisecond) | state.granted]}, left - 1)
      {:error, _} -> state
    end
  end
end
