defmodule Foundation.HealthCheck do
  @moduledoc """
  Says whether this node is well, from the checks that its parts have registered.

      :ok = Foundation.HealthCheck.register(:db, fn -> MyApp.Repo.ping() end, timeout: 500)
      :ok = Foundation.HealthCheck.register(:mail, &MyApp.Mail.ping/0, critical: false)
      {:ok, %{status: :healthy}} = Foundation.HealthCheck.run()
      true = Foundation.HealthCheck.ready?()

  The node is `:unhealthy` when a critical check fails, `:degraded` when another fails or one says so, `:draining` when it has been told
  to leave (`drain/1`), else `:healthy`. The processes of `Foundation.ProcessLifecycle` count as critical checks named
  `{:process, name}`, those that were shut down on purpose left out.

  Checks run in processes of their own, all at once, in whoever calls `run/0`. O(checks).
  """

  alias Foundation.ProcessLifecycle
  alias Foundation.ProcessLifecycle.Verdict

  @key {__MODULE__, :checks}
  @draining {__MODULE__, :draining}
  @lock {__MODULE__, :change}
  @defaults [timeout: 1_000, critical: true]

  @type name :: term
  @type check ::
          (() -> :ok | boolean | :healthy | :degraded | :unhealthy | {:degraded | :unhealthy | :error, term})
  @type result :: %{
          status: :healthy | :degraded | :unhealthy,
          reason: term,
          took_ms: non_neg_integer,
          critical: boolean
        }
  @type report :: %{
          status: :healthy | :degraded | :unhealthy | :draining,
          checks: %{name => result},
          node: node,
          at: DateTime.t()
        }

  @doc """
  Adds a check, or puts another in the place of one of that name.

  Options: `timeout:` ms (1,000), after which it has failed; `critical:` (true).
  """
  @spec register(name, check, keyword) :: :ok
  def register(name, check, opts \\ []) when is_function(check, 0) do
    case Keyword.keys(opts) -- Keyword.keys(@defaults) do
      [] ->
        :ok

      more ->
        raise ArgumentError, "unknown options #{inspect(more)}; known are #{inspect(Keyword.keys(@defaults))}"
    end

    opts = Keyword.merge(@defaults, opts)

    unless is_integer(opts[:timeout]) and opts[:timeout] > 0,
      do: raise(ArgumentError, "timeout must be milliseconds above 0, got: #{inspect(opts[:timeout])}")

    change(&Map.put(&1, name, %{run: check, timeout: opts[:timeout], critical: opts[:critical] == true}))
  end

  @doc "Removes a check."
  @spec unregister(name) :: :ok
  def unregister(name), do: change(&Map.delete(&1, name))

  @doc "Runs all checks and says how this node is. At most as long as the longest timeout."
  @spec run() :: {:ok, report}
  def run do
    results =
      checks()
      |> Enum.map(fn {name, check} -> {name, check, Task.async(fn -> timed(check) end)} end)
      |> Map.new(fn {name, check, task} -> {name, finish(task, check)} end)
      |> Map.merge(processes())

    {:ok, %{status: status(results), checks: results, node: node(), at: DateTime.utc_now()}}
  end

  @doc "Whether this node should get work: it is healthy or degraded, and not draining."
  @spec ready?() :: boolean
  def ready?, do: match?({:ok, %{status: status}} when status in [:healthy, :degraded], run())

  @doc "Has this node report `:draining`, or no longer. `Foundation.Cluster.drain/1` does this too."
  @spec drain(boolean) :: :ok
  def drain(draining) when is_boolean(draining), do: :persistent_term.put(@draining, draining)

  @doc "Whether this node was told to leave."
  @spec draining?() :: boolean
  def draining?, do: :persistent_term.get(@draining, false)

  defp status(results) do
    failed = for {_, %{status: :unhealthy, critical: critical}} <- results, do: critical

    cond do
      draining?() -> :draining
      true in failed -> :unhealthy
      failed != [] or Enum.any?(results, fn {_, result} -> result.status == :degraded end) -> :degraded
      true -> :healthy
    end
  end

  defp timed(check) do
    began = now()
    {status, reason} = Verdict.of(check.run)
    %{status: status, reason: reason, took_ms: now() - began, critical: check.critical}
  end

  defp finish(task, check) do
    case Task.yield(task, check.timeout) || Task.shutdown(task, :brutal_kill) do
      {:ok, result} -> result
      _ -> %{status: :unhealthy, reason: :timeout, took_ms: check.timeout, critical: check.critical}
    end
  end

  defp processes do
    case ProcessLifecycle.list_managed_processes() do
      {:ok, managed} ->
        for {name, health} <- managed,
            health.status != :stopped,
            into: %{},
            do: {{:process, name}, process(health)}

      {:error, :not_running} ->
        %{}
    end
  end

  defp process(%{status: status, reason: reason}) do
    status =
      case status do
        :healthy -> :healthy
        :degraded -> :degraded
        status when status in [:starting, :restarting, :unhealthy, :failed] -> :unhealthy
      end

    %{status: status, reason: reason, took_ms: 0, critical: true}
  end

  defp checks, do: :persistent_term.get(@key, %{})

  defp change(function) do
    :global.trans({@lock, self()}, fn -> :persistent_term.put(@key, function.(checks())) end, [node()])
    :ok
  end

  defp now, do: System.monotonic_time(:millisecond)
end
