defmodule Foundation.Cluster.Signal do
  @moduledoc false
  # Drains the node on SIGTERM before the runtime stops it.
  #
  # A handler is put before the runtime's own in `:erl_signal_server`; it holds the signal until the drain is over, and
  # then the runtime's handler stops the applications in order, as ever. Handlers that others have put there stay.

  use GenServer

  alias Foundation.Cluster.Signal.Handler

  @spec start_link(map) :: GenServer.on_start() | :ignore
  def start_link(options) do
    if wanted?(options.drain_on_sigterm), do: start(options.drain_timeout), else: :ignore
  end

  # One is enough, whichever of the clusters came first.
  defp start(timeout) do
    with {:error, {:already_started, _pid}} <- GenServer.start_link(__MODULE__, timeout, name: __MODULE__),
         do: :ignore
  end

  @impl true
  def init(timeout) do
    Process.flag(:trap_exit, true)
    # One left behind by a predecessor that was killed.
    :gen_event.delete_handler(:erl_signal_server, Handler, :replaced)
    :ok = :gen_event.add_handler(:erl_signal_server, Handler, timeout)
    {:ok, timeout}
  end

  @impl true
  def terminate(_reason, _timeout), do: :gen_event.delete_handler(:erl_signal_server, Handler, :stopped)

  defp wanted?(:release), do: System.get_env("RELEASE_NAME") != nil
  defp wanted?(wanted), do: wanted
end
