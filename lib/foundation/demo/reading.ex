defmodule Foundation.Demo.Reading do
  @moduledoc false
  # The demo's first half: the files are spread over the nodes, and what they say comes back, is kept, and
  # leaves a record of how it went. Half-way one node may be killed.

  alias Foundation.Demo.{Console, Crew, Format, Guard, Journal, Sources}
  alias Foundation.Distributed
  alias Foundation.Types.Event

  @batch 64

  @type work :: %{events: [Event.t()], elapsed_us: non_neg_integer, limiter: map, cluster: Crew.story() | nil}

  @doc "Reads the files on the nodes of the crew, or on this one; what the limiter and the cluster did is that of the last run that had work."
  @spec work([Sources.file()], pid | nil, keyword) :: {:ok, work} | {:error, term}
  def work([], _crew, _options) do
    with {:ok, last} <- Journal.last_finished() do
      limiter = (last && last.data.limiter) || Guard.describe([], 0)
      {:ok, %{events: [], elapsed_us: 0, limiter: limiter, cluster: last && last.data[:cluster]}}
    end
  end

  def work(pending, crew, options) do
    applications = pending |> Enum.frequencies_by(& &1.application) |> Enum.sort()

    with {:ok, run} <- Journal.open_run(%{files: length(pending), otp: System.otp_release()}),
         {:ok, parents} <- Journal.open_applications(applications, run),
         :ok <- Guard.start() do
      try do
        spread(pending, run, parents, crew, options)
      after
        Guard.stop()
      end
    end
  end

  defp spread(pending, run, parents, crew, options) do
    progress = Console.start(length(pending), Keyword.get(options, :quiet, false))
    # One of three or more may be lost, and the work goes on.
    kill_at =
      if crew && options[:nodes] >= 3 && Keyword.get(options, :kill, true), do: div(length(pending), 2)

    state = %{
      files: List.to_tuple(pending),
      parents: parents,
      events: [],
      batch: [],
      waits: [],
      done: 0,
      progress: progress,
      crew: crew,
      kill_at: kill_at
    }

    {elapsed, result} = :timer.tc(fn -> read_all(state) end)

    with {:ok, state, work} <- result do
      limiter = Guard.describe(state.waits, state.done, map_size(work.nodes))
      cluster = crew && story(crew, work)
      done = %{files: state.done, elapsed_us: elapsed, limiter: limiter, cluster: cluster}

      with :ok <- Journal.close_run(run, done) do
        {:ok, %{events: state.events, elapsed_us: elapsed, limiter: limiter, cluster: cluster}}
      end
    end
  end

  defp story(crew, work) do
    remarks =
      for {true, what, says} <- [
            {work.stolen > 0, :stolen,
             "#{Format.count(work.stolen)} files in all moved to nodes that had nothing left"},
            {work.reassigned > 0, :reassigned,
             "#{Format.count(work.reassigned)} files in all of lost nodes given to others"},
            {true, :finished, "every file done, each counted once"}
          ],
          do: {what, says}

    Crew.story(crew, work.nodes, remarks)
  end

  # The results come to this process, one message each, and are kept in batches while others are worked on.
  defp read_all(state) do
    me = self()
    tag = make_ref()
    nodes = if state.crew, do: Crew.nodes(state.crew), else: [node()]

    options = [
      nodes: nodes,
      concurrency: Guard.concurrency(),
      on_result: fn index, result -> send(me, {tag, index, result}) end
    ]

    files = Tuple.to_list(state.files)
    run = Task.async(fn -> Distributed.coordinate_work(files, {Guard, :read_here, []}, options) end)

    case collect(state, tag, run) do
      {:ok, state, work} ->
        Console.finish(state.progress)
        with {:ok, state} <- store_batch(state), do: {:ok, state, work}

      {:error, _} = error ->
        Task.shutdown(run, :brutal_kill)
        error
    end
  end

  defp collect(state, tag, %{ref: ref} = run) do
    receive do
      {^tag, index, result} ->
        with {:ok, state} <- state |> take(elem(state.files, index), result) |> store_full_batch() do
          state |> kill_half_way() |> collect(tag, run)
        end

      # It comes after the last result.
      {^ref, answer} ->
        Process.demonitor(ref, [:flush])
        with {:ok, work} <- answer, do: {:ok, state, work}

      {:DOWN, ^ref, :process, _pid, reason} ->
        {:error, reason}
    end
  end

  defp kill_half_way(%{kill_at: at, done: done} = state) when is_integer(at) and done >= at do
    Crew.kill_one(state.crew)
    %{state | kill_at: nil}
  end

  defp kill_half_way(state), do: state

  defp take(state, file, result) do
    {where, {outcome, took, wait}} = read(result)
    event = Journal.file_event(file, outcome, took, state.parents[file.application], where)
    done = state.done + 1
    progress = Console.advance(state.progress, done, Path.basename(file.path))
    waits = if wait, do: [wait | state.waits], else: state.waits
    %{state | batch: [event | state.batch], done: done, progress: progress, waits: waits}
  end

  defp read({:ok, {where, answer}}), do: {where, answer}
  defp read({:error, reason}), do: {node(), {{:refused, inspect(reason)}, 0, nil}}

  defp store_full_batch(%{batch: batch} = state) when length(batch) < @batch, do: {:ok, state}
  defp store_full_batch(state), do: store_batch(state)

  defp store_batch(state) do
    with :ok <- Journal.keep(Enum.reverse(state.batch)) do
      {:ok, %{state | events: state.batch ++ state.events, batch: []}}
    end
  end
end
