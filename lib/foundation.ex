defmodule Foundation do
  @moduledoc """
  Starts, stops and looks after the services: configuration, events, telemetry.

  The application starts them by itself; these functions are for programs that want to be sure, and for those that ask
  how things stand.

      iex> Foundation.initialize()
      :ok
      iex> Foundation.available?()
      true
  """

  import Kernel, except: [send: 2]

  alias Foundation.Distributed.Context
  alias Foundation.{Cluster, Config, ErrorContext, Events, ProcessRegistry, Telemetry}
  alias Foundation.Cluster.{Place, Starter}
  alias Foundation.Types.Error

  @services [:config_server, :event_store, :telemetry_service]
  @stop_ms 5_000

  @doc """
  Sees to it that the three services run: `:ok`, also when they do already; else the first one's error.

  Options: `:config`, a keyword list of configuration sections for a configuration service that has yet to start.
  """
  @spec initialize(keyword) :: :ok | {:error, Error.t()}
  def initialize(opts \\ []) do
    with :ok <- Config.initialize(opts[:config] || []),
         :ok <- Events.initialize(),
         do: Telemetry.initialize()
  end

  @doc """
  What each service says of itself: `{:ok, %{config: map, events: map, telemetry: map}}`, or the first one's error.

      iex> {:ok, status} = Foundation.status()
      iex> status.config.status
      :running
  """
  @spec status() :: {:ok, map} | {:error, Error.t()}
  def status do
    with {:ok, config} <- Config.status(),
         {:ok, events} <- Events.status(),
         {:ok, telemetry} <- Telemetry.status(),
         do: {:ok, %{config: config, events: events, telemetry: telemetry}}
  end

  @doc """
  Whether all three services are registered and alive. Raises `ArgumentError` when the application is stopped. O(1).
  """
  @spec available?() :: boolean
  def available?, do: Enum.all?(@services, &ProcessRegistry.registered?(:production, &1))

  @doc """
  The version of the application.

      iex> Foundation.version() == to_string(Application.spec(:foundation, :vsn))
      true
  """
  @spec version() :: String.t()
  def version do
    _ = Application.load(:foundation)
    :foundation |> Application.spec(:vsn) |> to_string()
  end

  @doc """
  `initialize/1`, answering `{:ok, self()}`; no process is started. A service that does not start gives
  `{:error, error}` with the `Foundation.Error` `:internal_error`.
  """
  @spec start_link(keyword) :: {:ok, pid}
  def start_link(opts \\ []) do
    context = ErrorContext.new(__MODULE__, :start_link, metadata: %{opts: opts})

    ErrorContext.with_context(context, fn ->
      :ok = initialize(opts)
      {:ok, self()}
    end)
  end

  @doc """
  Stops the supervision tree, and with it the application: `:ok`, also when it does not run. Waits up to five seconds until
  the application can be started again.
  """
  @spec shutdown() :: :ok
  def shutdown do
    Supervisor.stop(Foundation.Supervisor, :normal)
    await_stopped(System.monotonic_time(:millisecond) + @stop_ms)
  catch
    :exit, _ -> :ok
  end

  defp await_stopped(deadline) do
    running? = List.keymember?(Application.started_applications(), :foundation, 0)

    if running? and System.monotonic_time(:millisecond) < deadline do
      Process.sleep(1)
      await_stopped(deadline)
    else
      :ok
    end
  end

  @doc """
  How things stand: `status` (`:healthy` when each service says that it is running, else `:degraded`), `timestamp`
  (monotonic, ms), `services` (as in `status/0`), `foundation_available`, `elixir_version`, `otp_release`.

      iex> {:ok, health} = Foundation.health()
      iex> health.status
      :healthy
  """
  @spec health() :: {:ok, map} | {:error, Error.t()}
  def health do
    with {:ok, services} <- status() do
      healthy? = Enum.all?(Map.values(services), &(Map.get(&1, :status) == :running))

      {:ok,
       %{
         status: if(healthy?, do: :healthy, else: :degraded),
         timestamp: System.monotonic_time(:millisecond),
         services: services,
         foundation_available: available?(),
         elixir_version: System.version(),
         otp_release: System.otp_release()
       }}
    end
  end

  @doc """
  Forms a cluster; `Foundation.Cluster.start/2` with its forms and errors. `true`, the default, finds the others by
  itself.
  """
  @spec start_cluster(term) :: :ok | {:error, term}
  def start_cluster(spec \\ true), do: Cluster.start(spec)

  @doc "How the cluster stands, or that of `cluster:`; `Foundation.Cluster.info/1`. Errors: `:not_joined`."
  @spec cluster_info(keyword) :: map | {:error, :not_joined}
  defdelegate cluster_info(opts \\ []), to: Cluster, as: :info

  @doc """
  Sends a message to a process by its name, on whichever member of the cluster it is.

  `name` is a registered name, or that of a service in `Foundation.ProcessRegistry` (looked for on this node, then in
  `:global`, then on all members at once), `{name, node}`, `{:global, term}`, `{:via, module, term}` or a pid. `:ok`
  says that it was sent, not that it was received.

  Errors: `:not_found`. Costs a look-up where the process is here, a round trip to the members where it is not.

      iex> Process.register(self(), :docs_send)
      iex> Foundation.send(:docs_send, :hello)
      :ok
      iex> receive do: (:hello -> :received)
      :received
      iex> Foundation.send(:docs_nobody, :hello)
      {:error, :not_found}
  """
  @spec send(term, term) :: :ok | {:error, :not_found}
  def send(name, message) do
    with {:ok, destination} <- Place.whereis(name) do
      Kernel.send(destination, message)
      :ok
    end
  end

  @doc """
  Starts a process under Foundation's supervisor, here or elsewhere in the cluster.

  `module` has `child_spec/1`, which is called with `args` (`use GenServer`, `use Agent` and so on give it one). Options:
  `distribute: true` starts it on the member whose schedulers have the least to do, measured now, and which is not
  draining; `node:` on that one; `name:` registers it there under that atom; `restart:` (`:transient`), as a supervisor
  has it; `timeout:` (5,000 ms) for the other node's answer. The process is in the caller's
  `Foundation.Distributed.Context`.

  Errors: those of the start; `{:unreachable, node}`; `:timeout`.

      iex> {:ok, pid} = Foundation.start_process(Agent, fn -> 42 end)
      iex> Agent.get(pid, & &1)
      42
  """
  @spec start_process(module, term, keyword) :: {:ok, pid} | {:error, term}
  def start_process(module, args, opts \\ []) when is_atom(module) and is_list(opts) do
    node = opts[:node] || if(opts[:distribute], do: Place.roomiest(), else: node())
    passed = [context: Context.carry()] ++ Keyword.take(opts, [:name, :restart])
    start_on(node, [module, args, passed], Keyword.get(opts, :timeout, 5_000))
  end

  defp start_on(node, arguments, _timeout) when node == node(), do: apply(Starter, :start, arguments)

  defp start_on(node, arguments, timeout) do
    :erpc.call(node, Starter, :start, arguments, timeout)
  catch
    :error, {:erpc, :noconnection} -> {:error, {:unreachable, node}}
    :error, {:erpc, reason} -> {:error, reason}
  end
end
