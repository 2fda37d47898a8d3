defmodule Foundation.Infrastructure do
  @moduledoc """
  Protects calls to what may be slow, down or rationed: one door to limits, breakers, pools and retries.

      iex> alias Foundation.Infrastructure
      iex> {:ok, []} = Infrastructure.initialize_all_infra_components()
      iex> _ = Infrastructure.initialize_circuit_breaker(:docs_api)
      iex> Infrastructure.execute_protected(:docs, [circuit_breaker: :docs_api], fn -> :fine end)
      {:ok, :fine}

  The parts are modules of their own: `Foundation.Infrastructure.Limits`, `Foundation.Infrastructure.RateLimiter`,
  `Foundation.Infrastructure.Breaker` and `CircuitBreaker`, `Foundation.Infrastructure.Pool` and `ConnectionManager`,
  `Foundation.Infrastructure.AdaptiveConcurrency`.

  ## Scheduling

  `execute_protected/3` makes the native calls of its layers, one or two each, all on normal schedulers; nothing here
  asks a process, except `configure_protection/2` and `list_protection_keys/0`.
  """

  require Logger
  alias Foundation.{Engine, Telemetry}
  alias Foundation.Infrastructure.{CircuitBreaker, Limits, Protected, ProtectionConfig}
  alias Foundation.Types.Error

  @type protection_key :: atom
  @type protection_options :: [
          circuit_breaker: atom,
          rate_limiter: {atom, binary},
          connection_pool: atom,
          timeout: timeout
        ]
  @type protection_config :: %{circuit_breaker: map, rate_limiter: map, connection_pool: map}
  @type execution_result :: {:ok, term} | {:error, term}

  @doc """
  Checks that the native structures are there, and says so by telemetry.

  Sets the application environment `:hammer, :backend` where it is unset, as 1.x did. Error:
  `{:infrastructure_init_failed, exception}` when the application does not run.
  """
  @spec initialize_all_infra_components() :: {:ok, []} | {:error, term}
  def initialize_all_infra_components do
    if Engine.handle(:breakers) == nil do
      {:error,
       {:infrastructure_init_failed, RuntimeError.exception("the application :foundation does not run")}}
    else
      if Application.get_env(:hammer, :backend) == nil,
        do: Application.put_env(:hammer, :backend, {Foundation.Infrastructure.RateLimiter.HammerBackend, []})

      emit(:infrastructure_initialized, %{config: %{}, components: [:fuse, :hammer]}, %{})
      {:ok, []}
    end
  end

  @doc """
  `%{fuse: :running | :not_started, hammer: :configured | :not_configured, timestamp: unix_ms}`: whether breakers can be
  used, and whether `initialize_all_infra_components/0` was called. The names are those of 1.x.
  """
  @spec get_infrastructure_status() :: {:ok, map} | {:error, term}
  def get_infrastructure_status do
    {:ok,
     %{
       fuse: if(Engine.handle(:breakers), do: :running, else: :not_started),
       hammer: if(Application.get_env(:hammer, :backend), do: :configured, else: :not_configured),
       timestamp: System.system_time(:millisecond)
     }}
  end

  @doc """
  Runs `fun` behind the layers that `options` name, in this order: `{:ok, value}`.

    * `retry`: `[max_attempts: 3, base_ms: 100, max_ms: 5_000, on: predicate]`: all that follows is tried again after a
      random part of `base_ms * 2^(n - 1)`, at most `max_ms`. `on` says of an error's reason whether to; by default
      when the function failed or was late, or no connection was free in time, and not when a limit or the breaker said
      no
    * `rate_limiter: {rule, identifier}`: by the limits that `configure_protection/2` set for `key`, or 100 in 60 s
    * `limits: {limit_key, costs}` or `{limit_key, costs, actual}`: reserves `costs` (`Limits.reserve/3`); they are
      charged when `fun` ran, as `actual.(value)` says of its value if given, and given back when it did not
    * `circuit_breaker: name`
    * `connection_pool: name`, waited for `timeout` ms (5,000). A `fun` of one argument gets the worker
    * `call_timeout`: ms for one run of `fun`, which then runs in a process of its own and is killed when late

  Errors are those of the layers: of `RateLimiter.check_rate/5` and `CircuitBreaker.execute/3` (error structs),
  `{:limited, info}` and others of `Limits.reserve/3`, `:pool_not_found`, `:checkout_timeout`, `:call_timeout`.
  A raise of `fun` is `{:execution_error, exception}`, or with a pool the exception itself, and the breaker does not
  count it; a throw or an exit counts, and passes through where there is no breaker (with a pool, an exit is an error
  with its reason, which is not counted). A raise of a layer is `{:exception, exception}`.
  """
  @spec execute_protected(protection_key, protection_options | keyword, (() -> term) | (pid -> term)) ::
          execution_result
  def execute_protected(protection_key, options, fun) do
    start = System.monotonic_time()
    emit(:execute_start, %{protection_key: protection_key}, %{options: shown(options)})

    try do
      result = Protected.execute(protection_key, options, fun)
      emit(:execute_stop, %{protection_key: protection_key}, stopped(result, start))
      result
    rescue
      error ->
        metadata = %{duration: since(start), error: inspect(error)}
        emit(:execute_exception, %{protection_key: protection_key}, metadata)
        {:error, {:exception, error}}
    end
  end

  defp stopped({:ok, _}, start), do: %{duration: since(start), success: true}
  defp stopped({:error, reason}, start), do: %{duration: since(start), success: false, reason: reason}

  defp since(start), do: System.monotonic_time() - start

  # No identifiers: they may be personal.
  defp shown(options) when is_list(options),
    do: options |> Keyword.take([:circuit_breaker, :connection_pool, :timeout]) |> Map.new()

  defp shown(options), do: %{options: inspect(options)}

  @doc """
  Stores the protection of `key`: maps `circuit_breaker` (`failure_threshold`, `recovery_time`), `rate_limiter` (`scale`
  in ms, `limit`) and `connection_pool` (`size`, `max_overflow`). The rate limit holds for the next
  `execute_protected/3` with a `rate_limiter`.

  Errors: `:missing_required_keys`, `:invalid_config_format`, `:invalid_circuit_breaker_config`,
  `:invalid_rate_limiter_config`, `:invalid_connection_pool_config`.
  """
  @spec configure_protection(protection_key, protection_config) :: :ok | {:error, term}
  def configure_protection(protection_key, config) do
    with :ok <- ProtectionConfig.check(config), :ok <- ProtectionConfig.put(protection_key, config) do
      Logger.info("Configured protection for #{inspect(protection_key)}")
      :ok
    else
      {:error, reason} = error ->
        Logger.warning("Invalid protection config for #{inspect(protection_key)}: #{inspect(reason)}")
        error
    end
  end

  @doc "What `configure_protection/2` stored. O(1)."
  @spec get_protection_config(protection_key) :: {:ok, any} | {:error, any}
  def get_protection_config(protection_key), do: ProtectionConfig.get(protection_key)

  @doc """
  `%{status: :unknown, message: text}` for `circuit_breaker`, `rate_limiter` and `connection_pool`, as in 1.x: a
  protection names no breaker, limiter or pool whose status this could be. Ask `CircuitBreaker.get_status/1`,
  `RateLimiter.get_status/2` and `ConnectionManager.get_pool_status/1`. `{:error, :not_found}` for an unknown key.
  """
  @spec get_protection_status(protection_key) :: {:ok, map} | {:error, term}
  def get_protection_status(protection_key) do
    with {:ok, _config} <- get_protection_config(protection_key) do
      {:ok,
       Map.new([circuit_breaker: "circuit breaker", rate_limiter: "rate limiter", connection_pool: "pool"], fn
         {layer, name} -> {layer, %{status: :unknown, message: "A protection names no #{name} of its own"}}
       end)}
    end
  end

  @doc "The keys that `configure_protection/2` was called with."
  @spec list_protection_keys() :: [protection_key]
  def list_protection_keys, do: ProtectionConfig.keys()

  @doc "Makes a breaker that tolerates 5 failures within 30 s. Errors as `initialize_circuit_breaker/2`, `:invalid_name`."
  @spec initialize_circuit_breaker(atom) :: :ok | {:error, Error.t()}
  def initialize_circuit_breaker(name) when is_atom(name),
    do: initialize_circuit_breaker(name, %{failure_threshold: 5, recovery_time: 30_000})

  def initialize_circuit_breaker(name),
    do: error(:invalid_name, "Circuit breaker name must be an atom", %{name: name})

  @doc """
  Makes the breaker `name` for `CircuitBreaker`, tolerating `failure_threshold` failures within `recovery_time` ms.

  Errors are structs without code and severity, of type `:invalid_name` (nil or empty), `:invalid_arguments`,
  `:invalid_configuration`, `:already_exists` or `:circuit_breaker_init_failed`.
  """
  @spec initialize_circuit_breaker(atom, map) :: :ok | {:error, Error.t()}
  def initialize_circuit_breaker(name, config) when is_atom(name) and is_map(config) do
    with :ok <- valid_name(name),
         :ok <- positive(config, :failure_threshold, "failure_threshold must be a positive integer"),
         :ok <- positive(config, :recovery_time, "recovery_time must be a positive integer (milliseconds)"),
         :ok <- unknown_breaker(name) do
      install(name, config)
    end
  end

  def initialize_circuit_breaker(name, config) do
    message = "Circuit breaker name must be an atom and config must be a map"
    error(:invalid_arguments, message, %{name: name, config: config})
  end

  defp install(name, %{failure_threshold: tolerance, recovery_time: refresh} = config) do
    case CircuitBreaker.start_fuse_instance(name, strategy: :standard, tolerance: tolerance, refresh: refresh) do
      :ok ->
        Logger.info("Initialized circuit breaker #{inspect(name)}")
        :ok

      {:error, reason} ->
        message = "Failed to initialize circuit breaker #{inspect(name)}: #{inspect(reason)}"
        error(:circuit_breaker_init_failed, message, %{name: name, config: config, fuse_reason: reason})
    end
  end

  defp valid_name(nil),
    do: error(:invalid_name, "Circuit breaker name must be a non-nil atom", %{name: nil, type: :atom})

  defp valid_name(:""),
    do: error(:invalid_name, "Circuit breaker name cannot be an empty atom", %{name: :""})

  defp valid_name(_name), do: :ok

  defp positive(config, key, message) do
    case config do
      %{^key => n} when is_integer(n) and n > 0 -> :ok
      %{^key => other} -> error(:invalid_configuration, message, %{key => other})
      _ -> error(:invalid_configuration, "#{key} is required", %{missing_key: key})
    end
  end

  defp unknown_breaker(name) do
    case CircuitBreaker.get_status(name) do
      {:error, _} ->
        :ok

      :ok ->
        error(:already_exists, "Circuit breaker #{inspect(name)} already exists", %{name: name})

      :blown ->
        message = "Circuit breaker #{inspect(name)} already exists (currently blown)"
        error(:already_exists, message, %{name: name, status: :blown})
    end
  end

  defp error(type, message, context),
    do: {:error, Error.new(error_type: type, message: message, context: context)}

  # -- limits ------------------------------------------------------------------------------------------------------

  @doc "See `Foundation.Infrastructure.Limits.set_limits/3`."
  defdelegate set_limits(key, limits, options \\ []), to: Limits

  @doc "See `Foundation.Infrastructure.Limits.acquire/2`."
  defdelegate acquire(key, costs), to: Limits

  @doc "See `Foundation.Infrastructure.Limits.reserve/3`."
  defdelegate reserve(key, costs, options \\ []), to: Limits

  @doc "See `Foundation.Infrastructure.Limits.commit/2`."
  defdelegate commit(reservation, actual \\ %{}), to: Limits

  @doc "See `Foundation.Infrastructure.Limits.refund/1`."
  defdelegate refund(reservation), to: Limits

  @doc "See `Foundation.Infrastructure.Limits.await/3`."
  defdelegate await(key, costs, options \\ []), to: Limits

  @doc "See `Foundation.Infrastructure.Limits.peek/1`."
  defdelegate peek(key), to: Limits

  @doc "See `Foundation.Infrastructure.Limits.reset_limits/1`."
  defdelegate reset_limits(key), to: Limits

  @doc "See `Foundation.Infrastructure.Limits.provider_profile/2`."
  defdelegate provider_profile(provider, overrides \\ []), to: Limits

  @doc "See `Foundation.Infrastructure.Limits.update_from_headers/3`."
  defdelegate update_from_headers(key, headers, profile \\ nil), to: Limits

  defp emit(event, measurements, metadata),
    do: Telemetry.execute([:foundation, :foundation, :infrastructure, event], measurements, metadata)
end
