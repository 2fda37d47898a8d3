defmodule Foundation.MABEAM.Coordination.Run do
  @moduledoc false
  # What a session knows, and what follows from each thing that happens: a state machine without messages or clocks.
  #
  # `pending` are those asked in this round who have neither answered nor failed. What comes from anyone else is late or
  # doubled and counts for nothing.

  alias Foundation.MABEAM.Guards
  alias Foundation.MABEAM.Types.Outcome

  @enforce_keys [
    :id,
    :protocol,
    :module,
    :problem,
    :participants,
    :guards,
    :deadline,
    :round_ms,
    :quorum,
    :began
  ]
  defstruct @enforce_keys ++
              [
                :state,
                :trace_id,
                round: 0,
                pending: %{},
                asked: 0,
                answered: 0,
                abstained: [],
                failed: %{},
                answers: %{},
                abstentions: %{},
                failures: %{},
                messages: 0,
                late: 0,
                doubled: 0
              ]

  @type t :: %__MODULE__{}
  @type result :: {:decided, term, map} | {:failed, term, map} | {:error, term}
  @type step :: {:wait, t} | {:next, t} | {:done, result, t}

  @spec begin(t) :: {:ok, t} | {:error, term, t}
  def begin(run) do
    case guarded(fn -> run.module.init(run.problem, run.participants) end) do
      {:ok, {:ok, state}} -> {:ok, %{run | state: state}}
      {:ok, {:error, reason}} -> {:error, reason, run}
      {:ok, other} -> {:error, {:protocol_crashed, {:bad_return, :init, other}}, run}
      {:crashed, what} -> {:error, {:protocol_crashed, what}, run}
    end
  end

  @doc "Begins a round: whom to ask what."
  @spec round(t) :: {:asks, [{term, atom, term}], t} | {:done, result, t}
  def round(run) do
    with {:ok, guards} <- Guards.round(run.guards) do
      run = %{run | guards: guards, round: run.round + 1}

      case guarded(fn -> run.module.ask(run.state, run.round) end) do
        {:ok, {asks, state}} when is_list(asks) -> asked(asks, %{run | state: state})
        {:ok, other} -> crashed({:bad_return, :ask, other}, run)
        {:crashed, what} -> crashed(what, run)
      end
    else
      {:stop, what, guards} -> {:done, {:error, {:guard, what}}, %{run | guards: guards}}
    end
  end

  defp asked(asks, run) do
    asks = asks |> Enum.flat_map(&each(&1, run.participants)) |> Enum.uniq_by(&elem(&1, 0))
    pending = Map.new(asks, fn {id, _, _} -> {id, true} end)
    count = map_size(pending)

    run = %{
      run
      | pending: pending,
        asked: count,
        answered: 0,
        abstained: [],
        failed: %{},
        messages: run.messages + count
    }

    {:asks, asks, run}
  end

  defp each({:all, kind, payload}, participants), do: Enum.map(participants, &{&1, kind, payload})
  defp each({id, kind, payload}, _participants), do: [{id, kind, payload}]

  @doc "These could not be asked."
  @spec unasked(t, %{term => term}) :: step
  def unasked(run, failed),
    do: failed |> Enum.reduce(run, fn {id, why}, run -> fail(run, id, why) end) |> settled()

  @doc "Agents are gone."
  @spec down(t, [term]) :: step
  def down(run, ids) do
    case Enum.filter(ids, &is_map_key(run.pending, &1)) do
      [] -> {:wait, run}
      ids -> ids |> Enum.reduce(run, &fail(&2, &1, :down)) |> settled()
    end
  end

  @doc "An answer of this round."
  @spec answer(t, term, term, {non_neg_integer, non_neg_integer} | nil) :: step
  def answer(run, id, _reply, _cost) when not is_map_key(run.pending, id),
    do: {:wait, %{run | doubled: run.doubled + 1}}

  def answer(run, id, reply, cost) do
    {tokens, money} = cost || {0, 0}

    case Guards.spend(run.guards, %{tokens: tokens, money: money}) do
      {:ok, guards} -> take(%{run | guards: guards}, id, reply)
      {:stop, what, guards} -> {:done, {:error, {:guard, what}}, %{run | guards: guards}}
    end
  end

  @doc "An answer of another round."
  @spec late(t) :: t
  def late(run), do: %{run | late: run.late + 1}

  defp take(run, id, {:error, reason}), do: run |> fail(id, reason) |> settled()

  defp take(run, id, none) when none in [:abstain, :no_bid] do
    settled(%{
      run
      | pending: Map.delete(run.pending, id),
        abstained: [id | run.abstained],
        abstentions: Map.put(run.abstentions, id, true),
        answers: Map.delete(run.answers, id),
        failures: Map.delete(run.failures, id)
    })
  end

  defp take(run, id, reply) do
    case guarded(fn -> run.module.answer(id, reply, run.state) end) do
      {:ok, {:ok, state}} -> run |> valid(id, reply, state) |> settled()
      {:ok, {:enough, state}} -> run |> valid(id, reply, state) |> decide()
      {:ok, {:invalid, reason, state}} -> %{run | state: state} |> fail(id, {:invalid, reason}) |> settled()
      {:ok, other} -> crashed({:bad_return, :answer, other}, run)
      {:crashed, what} -> crashed(what, run)
    end
  end

  defp valid(run, id, reply, state) do
    %{
      run
      | state: state,
        pending: Map.delete(run.pending, id),
        answered: run.answered + 1,
        answers: Map.put(run.answers, id, reply),
        abstentions: Map.delete(run.abstentions, id),
        failures: Map.delete(run.failures, id)
    }
  end

  defp fail(run, id, reason) do
    %{
      run
      | pending: Map.delete(run.pending, id),
        failed: Map.put(run.failed, id, reason),
        failures: Map.put(run.failures, id, reason),
        answers: Map.delete(run.answers, id),
        abstentions: Map.delete(run.abstentions, id)
    }
  end

  defp settled(%{pending: pending} = run) when pending == %{}, do: decide(run)
  defp settled(run), do: {:wait, run}

  @doc "The round's time is over: who has not answered has failed."
  @spec out_of_round(t) :: step
  def out_of_round(run) do
    run.pending |> Map.keys() |> Enum.reduce(run, &fail(&2, &1, :timeout)) |> decide()
  end

  # Abstaining is taking part; who failed did not.
  defp decide(run) do
    present = run.answered + length(run.abstained)
    needed = if run.asked == length(run.participants), do: needed(run.quorum, run.asked), else: 0

    if present < needed,
      do: {:done, {:failed, :no_quorum, %{present: present, needed: needed}}, run},
      else: decided(run)
  end

  defp decided(run) do
    report = %{
      round: run.round,
      last: run.round >= run.guards.rounds,
      asked: run.asked,
      answered: run.answered,
      abstained: run.abstained,
      failures: run.failed
    }

    case guarded(fn -> run.module.decide(report, run.state) end) do
      {:ok, {:decided, decision, detail, state}} when is_map(detail) ->
        {:done, {:decided, decision, detail}, %{run | state: state}}

      {:ok, {:again, state}} ->
        {:next, %{run | state: state}}

      {:ok, {:failed, reason, detail, state}} when is_map(detail) ->
        {:done, {:failed, reason, detail}, %{run | state: state}}

      {:ok, other} ->
        crashed({:bad_return, :decide, other}, run)

      {:crashed, what} ->
        crashed(what, run)
    end
  end

  # Of a round in which all are asked: a protocol may also ask one alone.
  defp needed(:all, asked), do: asked
  defp needed(:majority, asked), do: div(asked, 2) + 1
  defp needed(count, asked), do: min(count, asked)

  @spec outcome(t) :: Outcome.t()
  def outcome(run) do
    %Outcome{
      session_id: run.id,
      protocol: run.protocol,
      participants: run.participants,
      answers: run.answers,
      abstentions: run.abstentions |> Map.keys() |> Enum.sort(),
      failures: run.failures,
      rounds: run.round,
      messages: run.messages,
      late: run.late,
      doubled: run.doubled,
      duration_us: System.monotonic_time(:microsecond) - run.began,
      cost: run.guards.spent,
      trace_id: run.trace_id
    }
  end

  @doc "How far it is."
  @spec status(t) :: map
  def status(run) do
    %{
      status: :running,
      protocol: run.protocol,
      participants: length(run.participants),
      round: run.round,
      waiting_for: run.pending |> Map.keys() |> Enum.sort(),
      answered: map_size(run.answers),
      cost: run.guards.spent,
      left_ms: max(run.deadline - System.monotonic_time(:millisecond), 0)
    }
  end

  defp crashed(what, run), do: {:done, {:error, {:protocol_crashed, what}}, run}

  defp guarded(function) do
    {:ok, function.()}
  catch
    :error, reason ->
      exception = Exception.normalize(:error, reason, __STACKTRACE__)
      {:crashed, {exception.__struct__, exception |> Exception.message() |> String.slice(0, 500)}}

    kind, reason ->
      {:crashed, {kind, reason}}
  end
end
