defmodule Foundation.ServiceMesh.Attempt do
  @moduledoc false
  # One call: picks a provider, tries it, and goes on to another while there is time, reason and budget to.
  #
  # A function is tried with a provider and the ms it may take; it answers {:ok, value}, {:refused, value} (an answer that
  # counts as a failure) or {:error, reason, :unsent | :unknown}.

  alias Foundation.Distributed.Context
  alias Foundation.Distributed.Discovery.{Directory, Load}
  alias Foundation.ServiceMesh.{Budget, Hedge, Options, Outliers, Pick, Tables, Transport}
  alias Foundation.Telemetry

  @longest_backoff_ms 1_000
  @millisecond 1_000_000

  @type answer :: {:ok, term} | {:refused, term} | {:error, term, :unsent | :unknown}
  @type tried :: (Directory.provider(), non_neg_integer -> answer)

  @doc "Makes the call: `{:ok, value}` or `{:error, reason}`; `what` is `Options.row/1` with the options of the call."
  @spec run(Directory.selection(), Options.row(), tried) :: {:ok, term} | {:error, term}
  def run(selection, {settings, budget, series}, function) do
    Budget.deposit(budget, settings)

    call = %{
      selection: selection,
      settings: settings,
      budget: budget,
      series: series,
      function: function,
      deadline: nil
    }

    if Context.trace_id() == nil, do: within(call, settings.timeout), else: in_context(call)
  end

  # The nearer deadline of two counts, and goes along.
  defp in_context(call) do
    case min(time_left(), call.settings.timeout) do
      0 ->
        {:error, :timeout}

      timeout ->
        Context.run(%{deadline: System.system_time(:millisecond) + timeout}, fn -> within(call, timeout) end)
    end
  end

  defp within(call, timeout) do
    deadline = System.monotonic_time(:nanosecond) + timeout * @millisecond
    attempt(%{call | deadline: deadline}, [], 0, nil)
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
  def pick(call, tried) do
    request = Pick.request(call.selection, call.settings, tried)

    case Pick.pick(request) do
      {:error, :none_healthy} when tried != [] -> Pick.pick(%{request | excluded: []})
      answer -> answer
    end
  end

  defp again(call, failure, tried, n) do
    now = System.monotonic_time(:millisecond)
    pause = pause(call.settings.backoff_ms, n)

    if n < call.settings.retries and repeatable?(failure, call.settings) and pause < remaining(call) and
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
    began = System.monotonic_time(:nanosecond)

    try do
      call.function.(provider, left(call, began))
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
    now = System.monotonic_time(:nanosecond)
    Tables.finish(id)

    if outcome == :ignored do
      Load.abandon(load)
    else
      took = now - began
      if call.series, do: Telemetry.record(call.series, div(took, 1_000))
      in_a_row = Load.finish(load, outcome, took, now)
      if in_a_row > 0, do: Outliers.failed(provider, in_a_row)
    end
  end

  @doc "What is left of the time for an attempt, in ms."
  @spec left(map) :: non_neg_integer
  def left(call), do: left(call, System.monotonic_time(:nanosecond))

  defp left(call, now) do
    # An integer is less than any atom.
    min(remaining(call, now), call.settings.attempt_timeout)
  end

  defp remaining(call, now \\ System.monotonic_time(:nanosecond)),
    do: max(div(call.deadline - now + @millisecond - 1, @millisecond), 0)
end
