defmodule Foundation.MeshEcho do
  @moduledoc false
  # A provider for tests of the mesh: answers, waits, fails or ends as it is told, and counts its calls.
  use GenServer

  alias Foundation.Distributed.Context
  alias Foundation.{ServiceMesh, ServiceRegistry}

  def start(name \\ nil), do: GenServer.start(__MODULE__, name)

  @doc "Starts one, and registers it."
  def provide(service, options \\ [], name \\ nil) do
    {:ok, pid} = start(name)
    :ok = ServiceRegistry.register_mesh_service(service, pid, options)
    pid
  end

  @doc "What it does with every call from now on, before it answers: `:ok`, `{:sleep, ms}`, `:refuse`."
  def mode(pid, mode), do: GenServer.call(pid, {:mode, mode})

  @doc "How many calls it has had."
  def calls(pid), do: GenServer.call(pid, :calls)

  @doc "Whether it is well, for a health check."
  def well?(pid), do: GenServer.call(pid, :well?)

  @impl true
  def init(name), do: {:ok, %{name: name, mode: :ok, calls: 0}}

  @impl true
  def handle_call({:mode, mode}, _from, state), do: {:reply, :ok, %{state | mode: mode}}
  def handle_call(:calls, _from, state), do: {:reply, state.calls, state}
  def handle_call(:well?, _from, state), do: {:reply, state.mode == :ok, state}

  def handle_call(request, from, state) do
    state = %{state | calls: state.calls + 1}

    case {state.mode, request} do
      {:refuse, _} -> {:reply, {:error, :overloaded}, state}
      {{:sleep, ms}, _} -> {:reply, answer(request, from, state), sleep(state, ms)}
      {_, :crash} -> {:stop, {:shutdown, :told_to}, state}
      _ -> {:reply, answer(request, from, state), state}
    end
  end

  defp sleep(state, ms) do
    receive do
    after
      ms -> state
    end
  end

  defp answer({:echo, value}, _from, _state), do: value
  defp answer(:who, _from, state), do: state.name || self()
  defp answer(:node, _from, _state), do: node()

  defp answer(:time_left, from, _state) do
    Context.attach_caller(from)
    ServiceMesh.time_left()
  end
end
