defmodule Foundation.ServiceMesh.Hedge do
  @moduledoc false
  # Tries a provider, and when it has not answered after a while a second one beside it; the first answer counts and ends
  # the other attempt. Each attempt has a process of its own, in the context of the caller and linked to it.

  alias Foundation.Distributed.Context
  alias Foundation.Distributed.Discovery.Directory
  alias Foundation.ServiceMesh.{Attempt, Budget, Tables}
  alias Foundation.Telemetry

  @doc "The answer, and the ids of those who were tried."
  @spec run(map, Directory.provider()) :: {Attempt.answer(), [pos_integer]}
  def run(call, {id, _, _, _, _} = provider) do
    case delay(call) do
      nil ->
        {Attempt.once(call, provider), [id]}

      ms ->
        first = start(call, provider)
        await(call, [first], [id], min(ms, Attempt.left(call)))
    end
  end

  # That of a percentile is known when enough calls have been; it is looked up once a second.
  defp delay(%{settings: %{hedge: ms}}) when is_integer(ms), do: ms

  defp delay(%{settings: %{hedge: {:percentile, p}}, selection: selection}) do
    case Tables.get({:hedge, {selection, p}}) do
      nil ->
        Tables.put_new({:hedge, {selection, p}}, :unknown)
        nil

      :unknown ->
        nil

      ms ->
        ms
    end
  end

  defp start(call, {id, _, _, _, _} = provider) do
    {caller, reference} = {self(), make_ref()}
    callers = [caller | Process.get(:"$callers", [])]

    # The context goes along only where there is one.
    attempt = fn -> Attempt.once(call, provider) end
    attempt = if Context.trace_id(), do: Context.bind(attempt), else: attempt

    {pid, monitor} =
      :erlang.spawn_opt(
        fn ->
          Process.put(:"$callers", callers)
          send(caller, {reference, caught(attempt)})
        end,
        [:link, :monitor]
      )

    %{pid: pid, monitor: monitor, reference: reference, id: id}
  end

  defp caught(attempt) do
    {:answer, attempt.()}
  catch
    kind, reason -> {:raised, kind, reason, __STACKTRACE__}
  end

  # `delay` until a second one is started; nil when there is one.
  defp await(call, running, ids, delay) do
    case next(running, delay || :infinity) do
      :late ->
        second(call, running, ids)

      {one, {:raised, kind, reason, stack}} ->
        end_others(running, one)
        :erlang.raise(kind, reason, stack)

      {one, {:answer, {:ok, _} = answer}} ->
        end_others(running, one)
        {answer, ids}

      {one, {:answer, failure}} ->
        case List.delete(running, one) do
          [] -> {failure, ids}
          others -> await(call, others, ids, nil)
        end
    end
  end

  defp second(call, running, ids) do
    with {:ok, {id, _, _, _, _} = provider} <- Attempt.pick(call, ids),
         false <- id in ids,
         true <- Budget.withdraw(call.budget, call.settings, System.monotonic_time(:millisecond)) do
      Telemetry.counter_add([:foundation, :mesh, :hedges], 1, %{target: call.selection})
      await(call, [start(call, provider) | running], [id | ids], nil)
    else
      _ -> await(call, running, ids, nil)
    end
  end

  defp next([%{reference: a, monitor: m} = one], delay) do
    receive do
      {^a, outcome} -> taken(one, outcome)
      {:DOWN, ^m, :process, _, reason} -> gone(one, reason)
    after
      delay -> :late
    end
  end

  defp next([%{reference: a, monitor: m} = one, %{reference: b, monitor: n} = other], delay) do
    receive do
      {^a, outcome} -> taken(one, outcome)
      {^b, outcome} -> taken(other, outcome)
      {:DOWN, ^m, :process, _, reason} -> gone(one, reason)
      {:DOWN, ^n, :process, _, reason} -> gone(other, reason)
    after
      delay -> :late
    end
  end

  defp taken(one, outcome) do
    Process.demonitor(one.monitor, [:flush])
    {one, outcome}
  end

  # Ended from outside, without an answer.
  defp gone(one, reason) do
    Tables.abandon(one.pid, one.id)
    {one, {:answer, {:error, {:exit, reason}, :unknown}}}
  end

  defp end_others(running, one) do
    for other <- running, other != one do
      Process.unlink(other.pid)
      Process.exit(other.pid, :kill)

      receive do
        {:DOWN, monitor, :process, _, _} when monitor == other.monitor -> :ok
      end

      flush(other.reference)
      Tables.abandon(other.pid, other.id)
    end
  end

  defp flush(reference) do
    receive do
      {^reference, _} -> :ok
    after
      0 -> :ok
    end
  end
end
