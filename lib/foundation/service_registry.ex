defmodule Foundation.ServiceRegistry do
  @moduledoc """
  Finds services as `Foundation.ProcessRegistry` does, and says in errors, telemetry and logs how it went.

  `lookup/2` and `register/3` emit `[:foundation, :foundation, :registry, :lookup]` (`duration` in native time units) and
  `[:foundation, :foundation, :registry, :register]` (`count` 1) with `namespace`, `service` and `result`, in the caller,
  when the `:telemetry` package is loaded.

  ## In the cluster

  `register_mesh_service/3` makes a process of this node known to every node as a provider of a service;
  `discover_services/1` finds providers by what they are called and can do, and `route_to_best_instance/2` picks one:

      :ok = ServiceRegistry.register_mesh_service(:search, self(), capabilities: [:fuzzy], zone: "a")
      {:ok, %{pid: pid}} = ServiceRegistry.route_to_best_instance(:search, policy: :locality_aware)

  Providers are those of `Foundation.Distributed.Discovery`; `Foundation.ServiceMesh` calls them, with retries, and says
  more about policies and health.

  **Scheduling**: nothing here calls the native library. Finding and picking read tables.
  """

  require Logger
  alias Foundation.Distributed.Discovery
  alias Foundation.Distributed.Discovery.Directory
  alias Foundation.ProcessRegistry
  alias Foundation.ServiceMesh.{Checks, Options, Pick}
  alias Foundation.Types.Error

  @poll_ms 10
  @default_timeout_ms 5_000

  @type namespace :: :production | {:test, reference}
  @type service_name :: :config_server | :event_store | :telemetry_service | :test_supervisor
  @type registration_result :: :ok | {:error, {:already_registered, pid}}
  @type lookup_result :: {:ok, pid} | {:error, Error.t()}
  @typedoc "A provider of a service in the cluster."
  @type instance :: Discovery.service()

  @doc "Gives a process a name, as `Foundation.ProcessRegistry.register/3`. O(1)."
  @spec register(namespace, service_name, pid) :: registration_result
  def register(namespace, service, pid) when is_pid(pid) do
    result = ProcessRegistry.register(namespace, service, pid)

    case result do
      :ok ->
        Logger.debug("Registered service #{inspect(service)} in #{inspect(namespace)}: #{inspect(pid)}")
        emit(:register, %{count: 1}, namespace, service, :ok)

      {:error, {:already_registered, owner}} ->
        Logger.warning("Service #{inspect(service)} in #{inspect(namespace)} is taken by #{inspect(owner)}")
        emit(:register, %{count: 1}, namespace, service, :error)
    end

    result
  end

  @doc """
  The live process of a service, or the error `:service_not_found` (code 5001) whose context names what was asked for.
  O(1).
  """
  @spec lookup(namespace, service_name) :: lookup_result
  def lookup(namespace, service) do
    started = System.monotonic_time()
    found = ProcessRegistry.lookup(namespace, service)
    duration = %{duration: System.monotonic_time() - started}

    case found do
      {:ok, pid} ->
        emit(:lookup, duration, namespace, service, :ok)
        {:ok, pid}

      :error ->
        emit(:lookup, duration, namespace, service, :error)
        {:error, not_found(namespace, service)}
    end
  end

  @doc "Takes a name away, as `Foundation.ProcessRegistry.unregister/2`. O(1)."
  @spec unregister(namespace, service_name) :: :ok
  def unregister(namespace, service) do
    Logger.debug("Unregistering service #{inspect(service)} from #{inspect(namespace)}")
    ProcessRegistry.unregister(namespace, service)
  end

  @doc "The names of a namespace's live services, in no order. O(registered services)."
  @spec list_services(namespace) :: [service_name]
  def list_services(namespace), do: ProcessRegistry.list_services(namespace)

  @doc """
  Looks a service up and asks a function whether it is well.

  Options: `:health_check`, a function of the pid (none: being alive is enough); `:timeout` in ms, default 5000;
  `:debug_health_check`, true to log the outcome. `:ok`, `{:ok, _}` and `true` mean well and give `{:ok, pid}`. Errors: that of
  `lookup/2`, `{:health_check_failed, value}` for any other value, `:health_check_timeout`, `{:health_check_error,
  exception}`, `{:health_check_crashed, reason}`, and `:process_dead`. The function runs in a process of its own, whose
  death does not reach the caller.
  """
  @spec health_check(namespace, service_name, keyword) ::
          {:ok, pid}
          | {:error,
             :health_check_timeout
             | :process_dead
             | {:health_check_crashed, term}
             | {:health_check_error, term}
             | {:health_check_failed, term}
             | Error.t()}
  def health_check(namespace, service, opts \\ []) do
    with {:ok, pid} <- lookup(namespace, service) do
      result = check(pid, opts[:health_check], Keyword.get(opts, :timeout, @default_timeout_ms))

      if opts[:debug_health_check],
        do: Logger.debug("Health check of #{inspect(service)} in #{inspect(namespace)}: #{inspect(result)}")

      result
    end
  end

  defp check(pid, nil, _timeout), do: alive(pid)

  defp check(pid, fun, timeout) when is_function(fun, 1) do
    with {:ok, pid} <- alive(pid) do
      case run(fun, pid, timeout) do
        {:value, well} when well in [:ok, true] -> {:ok, pid}
        {:value, {:ok, _}} -> {:ok, pid}
        {:value, other} -> {:error, {:health_check_failed, other}}
        {:error, _} = error -> error
      end
    end
  end

  defp alive(pid) do
    if node(pid) != node() or Process.alive?(pid), do: {:ok, pid}, else: {:error, :process_dead}
  end

  defp run(fun, pid, timeout) do
    callers = [self() | Process.get(:"$callers", [])]
    answer = make_ref()

    {checker, monitor} =
      spawn_monitor(fn ->
        Process.put(:"$callers", callers)
        exit({answer, outcome(fun, pid)})
      end)

    receive do
      {:DOWN, ^monitor, :process, _, {^answer, result}} -> result
      {:DOWN, ^monitor, :process, _, reason} -> {:error, {:health_check_crashed, reason}}
    after
      timeout ->
        Process.demonitor(monitor, [:flush])
        Process.exit(checker, :kill)
        {:error, :health_check_timeout}
    end
  end

  defp outcome(fun, pid) do
    {:value, fun.(pid)}
  rescue
    exception -> {:error, {:health_check_error, exception}}
  catch
    :exit, reason -> {:error, {:health_check_crashed, reason}}
    :throw, value -> {:error, {:health_check_crashed, {{:nocatch, value}, __STACKTRACE__}}}
  end

  @doc "Waits until a service is there, at most `timeout` ms; looks every 10 ms."
  @spec wait_for_service(namespace, service_name, pos_integer) :: {:ok, pid} | {:error, :timeout}
  def wait_for_service(namespace, service, timeout \\ @default_timeout_ms) do
    wait_until(namespace, service, System.monotonic_time(:millisecond) + timeout)
  end

  defp wait_until(namespace, service, deadline) do
    case ProcessRegistry.lookup(namespace, service) do
      {:ok, pid} ->
        {:ok, pid}

      :error ->
        if System.monotonic_time(:millisecond) >= deadline do
          {:error, :timeout}
        else
          Process.sleep(@poll_ms)
          wait_until(namespace, service, deadline)
        end
    end
  end

  @doc "The name to start or call a service by, as `Foundation.ProcessRegistry.via_tuple/2`. O(1)."
  @spec via_tuple(namespace, service_name) ::
          {:via, Registry, {Foundation.ProcessRegistry, {namespace, service_name}}}
  def via_tuple(namespace, service), do: ProcessRegistry.via_tuple(namespace, service)

  @doc """
  What is running in a namespace: `services` by name with `pid`, `alive` and `uptime_ms` (the monotonic clock, in ms), and how
  many there are. O(registered services).
  """
  @spec get_service_info(namespace) :: %{
          namespace: namespace,
          services: map,
          total_services: non_neg_integer,
          healthy_services: non_neg_integer
        }
  def get_service_info(namespace) do
    now = System.monotonic_time(:millisecond)

    services =
      for {service, pid} <- ProcessRegistry.get_all_services(namespace), into: %{} do
        {service, %{pid: pid, alive: match?({:ok, _}, alive(pid)), uptime_ms: now}}
      end

    %{
      namespace: namespace,
      services: services,
      total_services: map_size(services),
      healthy_services: Enum.count(services, fn {_, info} -> info.alive end)
    }
  end

  @doc "Stops a test's services, as `Foundation.ProcessRegistry.cleanup_test_namespace/1`."
  @spec cleanup_test_namespace(reference) :: :ok
  def cleanup_test_namespace(reference), do: ProcessRegistry.cleanup_test_namespace(reference)

  # -- in the cluster ----------------------------------------------------------------------------------------------

  @doc """
  Registers a process of this node (the caller) with every node of the cluster, as a provider of a service.

  Options: `:capabilities`, a list of terms; `:metadata`, a map; `:weight`, 1 (the default) to 1,000; `:zone` (that of the
  node, `config :foundation, zone:`); `:health_check`, by which this node finds out whether the process is well: a
  function of the pid or `{module, function, arguments}` (before which the pid is put) that answers `:ok`, `true` or
  `{:ok, _}` when it is, or `[check: …, interval_ms: 1_000, deadline_ms: 500, unhealthy_after: 3, healthy_after: 2]`, the
  last two counting answers in a row. A check that raises or is late has failed.

  Registering again replaces all that was said before. It ends with the process, or with `unregister_mesh_service/2`. On this
  node the service is known when this returns, on others within milliseconds.

  Errors: `{:error, :not_running}`. Raises ArgumentError. A call of a process, O(nodes).
  """
  @spec register_mesh_service(term, pid | keyword, keyword) :: :ok | {:error, :not_running}
  def register_mesh_service(name, pid_or_options \\ [], options \\ [])

  def register_mesh_service(name, options, []) when is_list(options),
    do: register_mesh_service(name, self(), options)

  def register_mesh_service(name, pid, options) when is_pid(pid) do
    {check, options} = Keyword.pop(options, :health_check)
    check = Checks.options!(check)

    with :ok <- Discovery.register_service(name, pid, [status: Checks.status()] ++ options),
         do: Checks.watch(name, pid, check)
  end

  def register_mesh_service(_name, other, _options),
    do: raise(ArgumentError, "a provider is a pid or a keyword list of options, got: #{inspect(other)}")

  @doc "Ends what a process of this node (the caller) provides. Errors: `{:error, :not_running}`. O(nodes)."
  @spec unregister_mesh_service(term, pid) :: :ok | {:error, :not_running}
  def unregister_mesh_service(name, pid \\ self()) when is_pid(pid) do
    with :ok <- Checks.watch(name, pid, nil), do: Discovery.unregister_service(name, pid)
  end

  @doc """
  The providers in the cluster that fit all criteria: `:name` (or `:service`), `:capability` (one, or a list, all of
  which they must have), `:node`, `:zone`, `:health` (`:healthy`, those that may be called; `:unhealthy`, `:draining`, or
  `:any`, the default). A name in place of the list stands for `name:`.

  `:node` says who runs there, `:status` what the provider's own node says of it. O(providers of the name, or services
  known).
  """
  @spec discover_services(keyword | term) :: [instance]
  def discover_services(criteria \\ [])

  def discover_services(criteria) when is_list(criteria) do
    {capabilities, criteria} = Keyword.pop(criteria, :capability, [])
    criteria = Enum.flat_map(criteria, &criterion/1)
    capabilities = List.wrap(capabilities)
    for found <- Discovery.discover_services(criteria), capabilities -- found.capabilities == [], do: found
  end

  def discover_services(name), do: discover_services(name: name)

  defp criterion({:name, name}), do: [service: name]
  defp criterion({:health, :any}), do: []
  defp criterion({:health, :healthy}), do: [status: :up]
  defp criterion({:health, status}) when status in [:unhealthy, :draining], do: [status: status]

  defp criterion({:health, other}),
    do: raise(ArgumentError, "health is :healthy, :unhealthy, :draining or :any, got: #{inspect(other)}")

  defp criterion(other), do: [other]

  @doc """
  Picks the provider that is best to call now: `{:ok, instance}`.

  The target is `{:service, name}` or `{:capability, capability}`; any other term is the name of a service, or, when there is
  no such service, a capability. Options: `:policy` and `:spill_over`, as `Foundation.ServiceMesh.call/3` has them and else
  as the service was configured; `:exclude`, a list of pids.

  Whoever calls the provider itself, and not by `Foundation.ServiceMesh`, tells nobody how that went: what is known of load
  and health here is from the calls of the mesh.

  Errors: `:no_provider` (nobody provides it), `:none_healthy` (all who do are unhealthy, draining, excluded or set aside),
  `:not_running`. Some microseconds: two or three look-ups; `:least_loaded` looks at every provider.
  """
  @spec route_to_best_instance(term, keyword) ::
          {:ok, instance} | {:error, :no_provider | :none_healthy | :not_running}
  def route_to_best_instance(target, options \\ []) do
    {exclude, options} = Keyword.pop(options, :exclude, [])
    selection = Pick.selection(target)
    settings = Options.call(selection, options)

    request = Pick.request(selection, settings, ids(selection, exclude))

    with {:ok, provider} <- Pick.pick(request) do
      case Directory.found(nil, provider) do
        # It went in between.
        nil -> route_to_best_instance(target, [exclude: exclude] ++ options)
        found -> {:ok, found}
      end
    end
  rescue
    error in ArgumentError ->
      # The tables go with the application.
      if :ets.whereis(Foundation.ServiceMesh.Settings) == :undefined,
        do: {:error, :not_running},
        else: reraise(error, __STACKTRACE__)
  end

  defp ids(_selection, []), do: []

  defp ids(selection, pids),
    do: for({{id, pid, _, _, _}, _} <- Directory.providers(nil, selection), pid in pids, do: id)

  defp not_found(namespace, service) do
    Error.new(
      code: 5001,
      error_type: :service_not_found,
      message: "Service #{inspect(service)} not found in namespace #{inspect(namespace)}",
      severity: :medium,
      category: :system,
      subcategory: :discovery,
      context: %{namespace: namespace, service: service}
    )
  end

  defp emit(what, measurements, namespace, service, result) do
    if function_exported?(:telemetry, :execute, 3) do
      metadata = %{namespace: namespace, service: service, result: result}
      apply(:telemetry, :execute, [[:foundation, :foundation, :registry, what], measurements, metadata])
    end

    :ok
  end
end
