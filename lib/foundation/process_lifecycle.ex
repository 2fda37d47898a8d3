defmodule Foundation.ProcessLifecycle do
  @moduledoc """
  Starts processes after what they depend on, watches their health, and ends them in the reverse order.

      alias Foundation.ProcessLifecycle, as: Lifecycle

      {:ok, _} = Lifecycle.register_managed_process(:db, {MyApp.Database, []})
      {:ok, _} = Lifecycle.register_managed_process(:api, {MyApp.Api, []}, depends_on: [:db])
      :ok = Lifecycle.set_health_check(:db, fn pid -> MyApp.Database.ping(pid) end)
      :ok = Lifecycle.add_shutdown_hook(:api, fn -> MyApp.Api.stop_accepting() end, priority: 10)
      {:ok, %{status: :healthy}} = Lifecycle.get_process_health(:db)
      {:ok, _report} = Lifecycle.graceful_shutdown(:all, timeout: 20_000)

  A managed process that ends unasked is started again, after 100 ms at first and twice as long each time, up to 10 s; one
  that ran for 30 s begins anew with 100 ms. After `max_restarts` within a minute it has failed and stays down until
  `restart/1`. When the application stops, everything managed is shut down first, as by `graceful_shutdown/2`.

  Names are any terms. Health is `:starting`, `:healthy`, `:degraded`, `:unhealthy`, `:restarting`, `:failed` or `:stopped`. A process
  is degraded also while one that it depends on is not healthy. Each change is an event
  `[:foundation, :lifecycle, :health_changed]` with `:name`, `:from`, `:to` and `:reason` in its metadata.

  All functions call one process, which only keeps the books: starting, checking and hooks run elsewhere. O(managed
  processes) at most. `{:error, :not_running}` while the application does not run.
  """

  alias Foundation.ProcessLifecycle.{Server, Shutdown}

  @type name :: term
  @type start :: pid | Supervisor.child_spec() | {module, term} | module | (() -> {:ok, pid} | {:error, term})
  @type status :: :starting | :healthy | :degraded | :unhealthy | :restarting | :failed | :stopped
  @type check :: (pid -> :ok | boolean | status | {:degraded | :unhealthy | :error, term})
  @type health :: %{
          status: status,
          reason: term,
          pid: pid | nil,
          since: DateTime.t(),
          restarts: non_neg_integer,
          checks: non_neg_integer,
          failures: non_neg_integer,
          depends_on: [name]
        }

  @doc """
  Puts a process under management, and starts it unless it is a pid.

  `start` is a child specification, `{module, argument}`, a module, a function that answers `{:ok, pid}` and links nothing, or the pid
  of a process that runs already, which is watched but never started again.

  Options: `depends_on:` names that must be registered and run (`[]`); `restart:` `:permanent` (default), `:transient` (not after a normal end)
  or `:temporary`; `max_restarts:` within a minute (5); `shutdown:` how many ms it may take to end (5,000); `health_check:` and
  `check:`, as `set_health_check/3` takes them.

  Errors: `:already_registered`, `{:missing_dependency, name}`, `{:dependency_down, name}`, `{:start_failed, reason}`, in which case nothing is
  registered. Waits until the process has started.
  """
  @spec register_managed_process(name, start, keyword) :: {:ok, pid} | {:error, term}
  def register_managed_process(name, start, opts \\ []), do: Server.register(name, start, opts)

  @doc """
  Asks the process from now on whether it is well.

  `check` is called with its pid, in a process of its own. `:ok`, `true` and `:healthy` are well; `{:degraded, reason}` and `:degraded` mean that it works
  with less; `false`, `:unhealthy`, `{:unhealthy, reason}`, `{:error, reason}`, anything raised, and no answer in time are failures. nil ends the checks.

  Options: `interval:` ms between checks (10,000), `timeout:` of one (1,000), `failures:` in a row until it is unhealthy (3; the first
  make it degraded), `on_unhealthy:` `:none` (default) or `:restart`. The first check is made at once. Errors: `:not_found`.
  """
  @spec set_health_check(name, check | nil, keyword) :: :ok | {:error, :not_found | :not_running}
  def set_health_check(name, check, opts \\ []), do: Server.set_check(name, check, opts)

  @doc """
  Has a function called when the process is about to be shut down, or with `:all` before anything is.

  Options: `priority:` (0; a greater one goes first, equal ones in the order they were added), `timeout:` ms (5,000), after which the hook is ended and the
  shutdown goes on. The function takes no argument, or the name. Errors: `:not_found`.
  """
  @spec add_shutdown_hook(name | :all, (() -> term) | (name -> term), keyword) ::
          {:ok, reference} | {:error, :not_found | :not_running}
  def add_shutdown_hook(name, hook, opts \\ []), do: Server.add_hook(name, hook, opts)

  @doc "Takes a hook away."
  @spec remove_shutdown_hook(reference) :: :ok
  def remove_shutdown_hook(reference), do: Server.remove_hook(reference)

  @doc "How a process is. Errors: `:not_found`."
  @spec get_process_health(name) :: {:ok, health} | {:error, :not_found | :not_running}
  def get_process_health(name), do: Server.health(name)

  @doc "How all are: `%{name => health}`."
  @spec list_managed_processes() :: {:ok, %{name => health}} | {:error, :not_running}
  def list_managed_processes, do: Server.list()

  @doc """
  Ends a process and starts it again, also one that has failed or was stopped. What depends on it stays.

  Errors: `:not_found`, `:not_managed` (it was registered as a pid), `{:start_failed, reason}`.
  """
  @spec restart(name) :: {:ok, pid} | {:error, term}
  def restart(name), do: Server.restart(name)

  @doc """
  Shuts a process down, after all that depend on it; `:all` shuts everything down.

  For each: its hooks by priority, then `:shutdown` to the process, and `:kill` after its `shutdown:` ms. Processes that do not depend on
  each other end at the same time. After `timeout:` ms (30,000) what is left is killed.

  The report has, in the order it happened, `%{name: n, outcome: :stopped | :killed, took_ms: ms, hooks: [{reference, :ok | :timeout | {:failed, reason}}]}`.
  A process that was shut down stays registered as `:stopped`; `forget: true` removes it. Errors: `:not_found`.
  """
  @spec graceful_shutdown(name | :all, keyword) :: {:ok, [map]} | {:error, :not_found | :not_running}
  def graceful_shutdown(name, opts \\ []), do: Shutdown.run(name, opts)

  @doc "The names in an order in which nothing comes before what it depends on."
  @spec start_order() :: {:ok, [name]} | {:error, :not_running}
  def start_order, do: Server.order()
end
