defmodule Foundation.ServiceMesh do
  @moduledoc """
  Calls services of the cluster: picks a provider, goes on to another one when that fails, within one deadline.

      :ok = Foundation.ServiceRegistry.register_mesh_service(:search, self(), capabilities: [:fuzzy])
      {:ok, hits} = Foundation.ServiceMesh.call(:search, {:query, "beam"}, timeout: 500)
      {:ok, hits} = Foundation.ServiceMesh.call({:capability, :fuzzy}, {:query, "bean"}, idempotent: true, retries: 3)

  Providers are registered by `Foundation.ServiceRegistry.register_mesh_service/3`. Each caller picks for itself, from tables
  that its node keeps and from what that node has seen of the providers; nobody is asked.

  ## Policies

  | policy | picks |
  |---|---|
  | `:p2c_ewma` (default) | of two at random the one with the lesser cost: peak EWMA of the latency × calls in flight, by weight |
  | `:round_robin` | one after the other |
  | `:weighted` | at random, in proportion to the weights |
  | `:least_loaded` | the one with the fewest calls in flight, by weight; looks at every provider |
  | `:locality_aware` | as `:p2c_ewma`, on this node; else, in its zone; else anywhere. One with `:spill_over` calls in flight, by weight, is passed over for those further away |
  | `:health_based` | of two at random the one of whose calls fewer failed lately; the cheaper when they are alike |

  Load and latency are those of the calls of this node. `:locality_aware` knows the zone of `config :foundation, zone:`.

  ## Health

    * A provider goes with its process and its node; it is not called while its own node says that its check fails
      (`:health_check` of `register_mesh_service/3`), or that the node drains (`Foundation.Cluster.drain/1`,
      `Foundation.HealthCheck.drain/1`).
    * Each node sets aside, for itself, providers whose calls fail from there: so many in a row, or so much more often than
      those of the others (`:outlier` of `configure/2`), at most `:max_percent` of a service's, for `:base_ms` times how
      often it happened lately, at most `:max_ms`.

  ## Retries

  A call that was certainly not acted on (the process was gone, the queue to its node was full) goes on to the next provider; any other
  failure, a timeout among them, only with `idempotent: true`. A service gets at most `:retry_burst` + `:retry_ratio` × calls +
  `:retries_per_second` × seconds retries and hedges from a node, so that a service that is down is not called three
  times as often for it. The first retry is at once, at another provider; before the n-th after that is a random pause
  of at most `:backoff_ms` × 2^n, at most a second.

  ## Deadlines

  `:timeout` is for all attempts together. In a context (`Foundation.Distributed.Context`) the deadline goes along with the
  request: a provider that takes the context over (`Context.attach_caller/1`) and calls on through the mesh has as much
  time as its caller, and `time_left/0` says how much. Clocks of two nodes that differ make it longer or shorter by
  that much.

  **Scheduling**: picking reads tables and atomics; an attempt makes one native call on a normal scheduler, which records
  its duration as the histogram `[:foundation, :mesh, :call_us]`, tagged `target`. Subscribing and ejecting are a process's.
  """

  alias Foundation.Distributed.Discovery.{Directory, Load}
  alias Foundation.ServiceMesh.{Attempt, Budget, Options, Outliers, Pick, Transport}

  @type target :: {:service, term} | {:capability, term} | term
  @type reason ::
          :no_provider
          | :none_healthy
          | :not_running
          | :timeout
          | :noproc
          | :unreachable
          | :busy
          | :calling_self
          | {:exit, term}
          | atom

  @doc """
  Calls a provider of the target as `GenServer.call/3` does: `{:ok, reply}`.

  The target is as in `Foundation.ServiceRegistry.route_to_best_instance/2`. Options, each with what `configure/2` has set for its
  default:

    * `:timeout` (5,000 ms) for all attempts, `:attempt_timeout` (`:infinity`) for one;
    * `:policy` (`:p2c_ewma`), `:spill_over` (`:infinity`), see above;
    * `:retries` (2), `:backoff_ms` (10), `:idempotent` (false), see above;
    * `:hedge` (nil): ms after which, without an answer, a second provider is asked too; the first answer counts and the
      other attempt ends. `{:percentile, 95}` takes that percentile of the target's calls in the last minute, once
      there were 20. Needs `idempotent: true`, and a token of the retry budget;
    * `:failure?` (nil), a function of the reply: true counts it as a failure, which is retried with `idempotent: true`. The
      last such reply is answered as it is;
    * `:channel` (`:data`), on which calls to nodes of the fabric go.

  Errors: `:no_provider`, `:none_healthy`, `:not_running`; of the last attempt `:timeout`, `:noproc`, `:unreachable`, `{:exit,
  reason}` and the others of `Foundation.Distributed.call/4`. After `:timeout`, `:unreachable` and `{:exit, _}` the request may
  have been acted on. Raises ArgumentError for what is no option.
  """
  @spec call(target, term, keyword) :: {:ok, term} | {:error, reason}
  def call(target, request, options \\ []) do
    running(options, fn ->
      selection = Pick.selection(target)
      {settings, _, _} = row = row(selection, options)
      Attempt.run(selection, row, &ask(&1, request, &2, settings))
    end)
  end

  @doc "As `call/3`, with the timeout where `GenServer.call/3` has it."
  @spec call(target, term, timeout :: non_neg_integer, keyword) :: {:ok, term} | {:error, reason}
  def call(target, request, timeout, options) when is_integer(timeout),
    do: call(target, request, [timeout: timeout] ++ Keyword.delete(options, :timeout))

  defp row(selection, []), do: Options.row(selection)

  defp row(selection, options) do
    {settings, budget, series} = Options.row(selection)
    {Options.over(settings, options), budget, series}
  end

  defp ask({_, pid, _, _, _}, request, timeout, settings),
    do: pid |> Transport.call(request, timeout, settings.channel) |> refused(settings.failure?)

  defp refused({:ok, reply}, failure?) when failure? != nil,
    do: if(failure?.(reply) == true, do: {:refused, reply}, else: {:ok, reply})

  defp refused(answer, _failure?), do: answer

  @doc """
  Has a function make the call, for providers that are not called as a GenServer is: it gets the instance (as
  `route_to_best_instance/2` gives it) and the ms that are left, and answers `{:ok, value}` or `{:error, reason}`.

  An error counts as a failure of the provider, and is retried with `idempotent: true`; so is `{:error, {:unsent,
  reason}}` always. Exceptions count, and go on to the caller. Options and errors are those of `call/3`.
  """
  @spec run(target, (map, non_neg_integer -> {:ok, value} | {:error, term}), keyword) ::
          {:ok, value} | {:error, term}
        when value: term
  def run(target, function, options \\ []) when is_function(function, 2) do
    running(options, fn ->
      selection = Pick.selection(target)
      {settings, _, _} = row = row(selection, options)
      Attempt.run(selection, row, &apply_to(&1, function, &2, settings))
    end)
  end

  defp apply_to(provider, function, timeout, settings) do
    case Directory.found(nil, provider) do
      nil -> {:error, :noproc, :unsent}
      found -> found |> function.(timeout) |> answer() |> refused(settings.failure?)
    end
  end

  defp answer({:ok, value}), do: {:ok, value}
  defp answer({:error, {:unsent, reason}}), do: {:error, reason, :unsent}
  defp answer({:error, reason}), do: {:error, reason, :unknown}

  defp answer(other),
    do: raise(ArgumentError, "the function answers {:ok, value} or {:error, reason}, got: #{inspect(other)}")

  # The tables go with the application.
  defp running(options, function) when is_list(options) do
    if :ets.whereis(Foundation.ServiceMesh.Settings) == :undefined,
      do: {:error, :not_running},
      else: function.()
  end

  defp running(options, _function),
    do: raise(ArgumentError, "options are a keyword list, got: #{inspect(options)}")

  @doc """
  Sets what calls of this node to a target do unless they say otherwise, and how its providers are watched. The retry budget
  is full afterwards.

  The options of `call/3`, and: `:retry_ratio` (0.2), `:retries_per_second` (10) and `:retry_burst` (100), the retry budget,
  see above; `:outlier`, a list of `consecutive:` (5, or `:infinity`) failures in a row, `interval_ms:` (10,000) between looks at the
  rates of success, where a provider with at least `min_calls:` (20) calls, of a service with at least `min_providers:`
  (3) such ones, is set aside when its rate is `deviations:` (1.9) standard deviations below the mean; `base_ms:` (5,000),
  `max_ms:` (300,000), `max_percent:` (50: of a service with one provider none is ever set aside).

  Outliers go by the settings of `{:service, name}`, also of those called by a capability. Errors: `{:error, :not_running}`.
  Raises ArgumentError. O(1).
  """
  @spec configure(target, keyword) :: :ok | {:error, :not_running}
  def configure(target, options) do
    running(options, fn ->
      Options.configure(Pick.selection(target), options)
      :ok
    end)
  end

  @doc """
  Sends the caller `{:foundation_mesh, selection, event, instance}` of the providers of a target from now on, until it ends;
  `selection` is `{:service, name}` or `{:capability, capability}`.

  Events: `:up`, `:down`, `:changed` (look at the instance's `:status`), `{:ejected, ms, :consecutive | :success_rate}` and
  `:returned`, these two of this node only. Errors: `{:error, :not_running}`. O(1).
  """
  @spec subscribe(target) :: :ok | {:error, :not_running}
  def subscribe(target), do: running([], fn -> Outliers.subscribe(Pick.selection(target), self()) end)

  @doc "Ends `subscribe/1`. Errors: `{:error, :not_running}`. O(1)."
  @spec unsubscribe(target) :: :ok | {:error, :not_running}
  def unsubscribe(target), do: running([], fn -> Outliers.unsubscribe(Pick.selection(target), self()) end)

  @doc """
  What this node knows of a target: `:providers`, each instance with `:in_flight`, `:ewma_us`, `:calls`, `:failed`,
  `:consecutive_failures`, `:failing` (the share that failed lately, from 0.0 to 1.0), `:ejected` and `:ejections`; and
  `:budget`, with `:tokens`, and how many retries it has `:allowed` and `:refused`.

  Errors: `{:error, :not_running}`. O(providers).
  """
  @spec status(target) :: {:ok, %{providers: [map], budget: map}} | {:error, :not_running}
  def status(target) do
    running([], fn ->
      selection = Pick.selection(target)
      now = System.monotonic_time(:nanosecond)

      providers =
        for {{_, _, load, _, _}, found} <- Directory.providers(nil, selection),
            do: Map.merge(found, Load.view(load, now))

      {_, budget, _} = Options.row(selection)
      {:ok, %{providers: providers, budget: Budget.view(budget)}}
    end)
  end

  @doc "The ms that are left of the deadline of the context that the process is in; `:infinity` when that has none. O(1)."
  @spec time_left() :: non_neg_integer | :infinity
  defdelegate time_left(), to: Attempt
end
