defmodule Foundation.Engine.Log do
  @moduledoc false
  # Hands the native library's log lines to Logger, and Logger's level to the native library.

  use GenServer
  alias Foundation.Native

  @check_level_ms 1_000

  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @doc "Takes over Logger's present level at once; otherwise a change is seen within a second."
  @spec sync_level() :: :ok
  def sync_level, do: GenServer.call(__MODULE__, :sync_level)

  @impl true
  def init(_opts) do
    level = rank(Logger.level())
    Native.engine_log_attach(self(), level)
    {:ok, schedule(%{level: level})}
  end

  @impl true
  def handle_call(:sync_level, _from, state), do: {:reply, :ok, sync(state)}

  @impl true
  def handle_info(:check_level, state), do: {:noreply, state |> sync() |> schedule()}

  def handle_info({:foundation_native_log, level, target, text}, state) do
    :logger.log(level, "~ts", [text], %{native_target: target})
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp schedule(state) do
    Process.send_after(self(), :check_level, @check_level_ms)
    state
  end

  defp sync(%{level: level} = state) do
    case rank(Logger.level()) do
      ^level ->
        state

      changed ->
        Native.engine_log_level(changed)
        %{state | level: changed}
    end
  end

  defp rank(:none), do: 0
  defp rank(level) when level in [:debug, :all], do: 1
  defp rank(level) when level in [:info, :notice], do: 2
  defp rank(level) when level in [:warn, :warning], do: 3
  defp rank(_error_and_above), do: 4
end
