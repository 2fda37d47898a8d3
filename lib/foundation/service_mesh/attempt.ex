defmodule Foundation.ServiceMesh.Attempt do
  @moduledoc false
  # One call: picks a provider, tries it, and goes on to another while there is time, reason and budget to.
  #
  # A function is tried with a provider and the ms it may take; it answers {:ok, value}, {:refused, value} (an answer that
  # counts as a failure) or {:error, reason, :unsent | :unknown}.

  alias Foundation.Distributed.Context
  alias Foundation.Distributed.Discovery.{Directory, Load}
  alias Foundation.ServiceMesh.{Budget, Hedge, Outliers, Pick, Tables, Transport}
  alias Foundation.Telemetry

  @longest_backoff_ms 1_000

  @type answer :: {:ok, term} | {:refused, term} | {:error, term, :unsent | :unknown}
  @type tried :: (Directory.provider(), non_neg_integer -> answer)

  @doc "Makes the call: `{:ok, value}` or `{:error, reason}`."
  @spec run(Directory.selection(), map, tried) :: {:ok, term} | {:error, term}
  def run(selection, settings, function) do
    case time_left() do
      left when left < settings.timeout -> within(selection, settings, left, function)
      _ -> within(selection, settings, settings.timeout, function)
    end
  end

  defp within(_selection, _settings, timeout, _function) when timeout <= 0, do: {:error, :timeout}

  defp within(selection, settings, timeout, function) do
    budget = Budget.of(selection, settings)
    Budget.deposit(budget, settings)

    call = %{
      selection: selection,
      settings: settings,
      budget: budget,
      deadline: System.monotonic_time(:millisecond) + timeout,
      function: function
    }

    if Context.trace_id() == nil,
      do: attempt(call, [], 0, nil),
      else:
        Context.run(%{deadline: System.system_time(:millisecond) + timeout}, fn ->
          attempt(call, [], 0, nil)
        end)
  end

  @doc "The ms that the context of the process leaves."
  @spec time_left() :: integer | :infinity
  def time_left do
    case Context.current() do
      %{deadline: at} when is_integer(at) -> max(at - System.system_time(:millisecond), 0)
      _ -> :infinity
    end
  end

  defp attempt(call, tried, n, last) do
    case pick(call, tried) do
      {:ok, provider} ->
        answer =
          if call.settings.hedge && n == 0,
            do: Hedge.run(call, provider),
            else: {once(call, provider), [elem(provider, 0)]}

        settle(call, answer, tried, n)

      {:error, _reason} when last != nil ->
        finish(last)

      {:error, reason} ->
        {:error, reason}
    end
  end

  defp settle(_call, {{:ok, value}, _ids}, _tried, _n), do: {:ok, value}
  defp settle(call, {failure, ids}, tried, n), do: again(call, failure, ids ++ tried, n)

  @doc "A provider that was not tried yet, or when there is none any one."
  @spec pick(map, [pos_integer]) :: {:ok, Directory.provider()} | {:error, atom}
  def pick(%{settings: settings} = call, tried) do
    request = %{
      selection: call.selection,
      policy: settings.policy,
      spill_over: settings.spill_over,
      excluded: tried
    }

    case Pick.pick(request) do
      {:error, :none_healthy} when tried != [] -> Pick.pick(%{request | excluded: []})
      answer -> answer
    end
  end

  defp again(call, failure, tried, n) do
    now = System.monotonic_time(:millisecond)
    pause = pause(call.settings.backoff_ms, n)

    if n < call.settings.retries and repeatable?(failure, call.settings) and now + pause < call.deadline and
         Budget.withdraw(call.budget, call.settings, now) do
      Telemetry.counter_add([:foundation, :mesh, :retries], 1, %{target: call.selection})
      wait(pause)
      attempt(call, tried, n + 1, failure)
    else
      finish(failure)
    end
  end

  # The first goes to another provider, which need not rest.
  defp pause(_base, 0), do: 0
  defp pause(base, n), do: :rand.uniform(min(base * Integer.pow(2, min(n, 16)), @longest_backoff_ms) + 1) - 1

  defp wait(0), do: :ok

  defp wait(ms) do
    receive do
    after
      ms -> :ok
    end
  end

  defp repeatable?({:error, _reason, :unsent}, _settings), do: true
  defp repeatable?(_failure, settings), do: settings.idempotent

  defp finish({:refused, value}), do: {:ok, value}
  defp finish({:error, reason, _}), do: {:error, reason}

  @doc "Tries one provider, in the calling process, and notes how it went."
  @spec once(map, Directory.provider()) :: answer
  def once(call, {id, _pid, load, _weight, _service} = provider) do
    Tables.begin(id, load)
    began = System.monotonic_time()

    try do
      call.function.(provider, left(call))
    catch
      kind, reason ->
        note(call, provider, :failure, began)
        :erlang.raise(kind, reason, __STACKTRACE__)
    else
      answer ->
        note(call, provider, outcome(answer), began)
        answer
    end
  end

  defp outcome({:ok, _}), do: :success
  defp outcome({:refused, _}), do: :failure
  defp outcome({:error, reason, _}), do: if(Transport.counts?(reason), do: :failure, else: :ignored)

  defp note(call, {id, _pid, load, _weight, _service} = provider, outcome, began) do
    now = System.monotonic_time()
    Tables.finish(id)

    if outcome == :ignored do
      Load.abandon(load)
    else
      took = System.convert_time_unit(now - began, :native, :nanosecond)
      Telemetry.record([:foundation, :mesh, :call_us], div(took, 1_000), %{target: call.selection})
      in_a_row = Load.finish(load, outcome, took, System.convert_time_unit(now, :native, :nanosecond))
      if in_a_row > 0, do: Outliers.failed(provider, in_a_row)
    end
  end

  @doc "What is left of the time for an attempt, in ms."
  @spec left(map) :: non_neg_integer
  def left(call) do
    left = max(call.deadline - System.monotonic_time(:millisecond), 0)
    # An integer is less than any atom.
    min(left, call.settings.attempt_timeout)
  end
end
