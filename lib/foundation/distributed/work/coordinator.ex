defmodule Foundation.Distributed.Work.Coordinator do
  @moduledoc false
  # One run: starts a runner on each node, gives them their shares, moves shares to those that have nothing left, and
  # collects each result once.

  alias Foundation.Distributed.Consensus
  alias Foundation.Distributed.Work.{Book, Checkpoint, Crew}

  # How often a node is asked that has come up and does not answer yet, and how soon again.
  @join_tries 5
  @join_ms 400
  # How long a result may wait for others that are recorded with it.
  @save_ms 50
  @defaults %{
    nodes: :all,
    item_timeout: :infinity,
    timeout: :infinity,
    attempts: 3,
    on_result: nil,
    job: nil,
    cluster: nil,
    checkpoint_every: 64
  }

  defstruct [
    :run,
    :book,
    :options,
    :checkpoint,
    runners: %{},
    asked: MapSet.new(),
    lost: [],
    shared: false,
    unsaved: [],
    recovered: 0
  ]

  @doc "Runs to the end in a process of its own, which ends with the caller."
  def run(items, _worker, _options, _carrier) when items == %{},
    do: {:ok, %{results: [], nodes: %{}, stolen: 0, reassigned: 0, recovered: 0, lost_nodes: []}}

  def run(items, worker, options, carrier) do
    options =
      @defaults
      |> Map.put(:group, Consensus.default_group())
      |> Map.merge(options)
      |> Map.merge(%{worker: worker, carrier: carrier})

    caller = self()
    {pid, monitor} = spawn_monitor(fn -> exit({:answer, begin(items, options, caller)}) end)

    receive do
      {:DOWN, ^monitor, :process, ^pid, {:answer, answer}} -> answer
      {:DOWN, ^monitor, :process, ^pid, reason} -> {:error, reason}
    after
      options.timeout ->
        Process.exit(pid, :kill)
        Process.demonitor(monitor, [:flush])
        {:error, :timeout}
    end
  end

  @doc "A failure as the reason a process that had it would exit with."
  @spec failure(:error | :exit | :throw, term, Exception.stacktrace()) :: term
  def failure(:error, reason, stacktrace), do: {Exception.normalize(:error, reason, stacktrace), stacktrace}
  def failure(:exit, reason, _stacktrace), do: reason
  def failure(:throw, value, stacktrace), do: {{:nocatch, value}, stacktrace}

  defp begin(items, options, caller) do
    Process.monitor(caller)
    if options.nodes == :all, do: Crew.watch(options.cluster)
    state = %__MODULE__{run: make_ref(), book: Book.new(items), options: options}

    if options.job == nil,
      do: coordinate(state, caller),
      else: Checkpoint.run(items, options, &resume(state, &1, caller))
  end

  # What is recorded is not done again.
  defp resume(state, checkpoint, caller) do
    book = Book.new(state.book.items, checkpoint.results)
    recovered = map_size(book.results)
    coordinate(%{state | run: make_ref(), book: book, checkpoint: checkpoint, recovered: recovered}, caller)
  end

  defp coordinate(state, caller) do
    if Book.finished?(state.book) do
      {:ok, report(state)}
    else
      case start_runners(state, nodes(state.options)) do
        %{runners: runners} when runners == %{} -> {:error, :no_nodes}
        state -> state |> share() |> loop(caller)
      end
    end
  end

  # The runners end at once; this process may go on with another run.
  defp halt(state, error) do
    for node <- Map.keys(state.runners), do: cast(state, node, :end)
    error
  end

  defp nodes(%{nodes: :all, cluster: cluster}), do: Crew.nodes(cluster)
  defp nodes(%{nodes: nodes}), do: Enum.uniq(nodes)

  # -- runners -----------------------------------------------------------------------------------------------------

  defp start_runners(state, nodes) do
    options = Map.take(state.options, [:worker, :carrier, :item_timeout, :concurrency])

    state.options.cluster
    |> Crew.start(nodes, state.run, options)
    |> Enum.reduce(state, fn
      {node, {:ok, pid, concurrency}}, state ->
        runner = {pid, Process.monitor(pid), concurrency}
        %{state | runners: Map.put(state.runners, node, runner), book: Book.add_node(state.book, node)}

      {node, {:error, reason}}, state ->
        %{state | lost: [{node, reason} | state.lost]}
    end)
  end

  # An equal share to each at first, more to who can do more at a time.
  defp share(state) do
    total = state.runners |> Map.values() |> Enum.map(&elem(&1, 2)) |> Enum.sum()
    count = length(state.book.waiting)

    state =
      Enum.reduce(state.runners, state, fn {node, {_, _, concurrency}}, state ->
        give(state, node, div(count * concurrency + total - 1, total))
      end)

    %{state | shared: true}
  end

  defp give(state, node, count) do
    case Book.assign(state.book, node, count) do
      {[], _} ->
        state

      {items, book} ->
        cast(state, node, {:items, items})
        %{state | book: book}
    end
  end

  defp cast(state, node, message) do
    {pid, _monitor, _concurrency} = Map.fetch!(state.runners, node)
    GenServer.cast(pid, message)
  end

  # -- the run -----------------------------------------------------------------------------------------------------

  defp loop(state, caller) do
    cond do
      Book.finished?(state.book) -> finish(state)
      state.runners == %{} -> {:error, :no_nodes}
      true -> receive_one(state, caller)
    end
  end

  defp finish(state) do
    case save(state) do
      {:ok, state} -> {:ok, report(state)}
      {:error, _} = error -> halt(state, error)
    end
  end

  defp receive_one(%{run: run} = state, caller) do
    receive do
      {^run, node, {:done, index, result}} ->
        case take(state, node, index, result) do
          {:ok, state} -> state |> feed(node) |> loop(caller)
          {:error, _} = error -> halt(state, error)
        end

      {^run, node, {:given, indexes}} ->
        state = %{
          state
          | book: Book.returned(state.book, node, indexes),
            asked: MapSet.delete(state.asked, node)
        }

        state |> feed_idle() |> loop(caller)

      {^run, :save} ->
        case save(state) do
          {:ok, state} -> loop(state, caller)
          {:error, _} = error -> halt(state, error)
        end

      {:foundation_lost, :lock, _name, _token, _reason} ->
        halt(state, {:error, :superseded})

      {:DOWN, _monitor, :process, ^caller, _reason} ->
        exit(:normal)

      {:DOWN, monitor, :process, _pid, reason} ->
        case lose(state, monitor, reason) do
          {:ok, state} -> state |> feed_idle() |> loop(caller)
          {:error, _} = error -> halt(state, error)
        end

      {:nodeup, node} ->
        state = if Crew.works?(state.options.cluster, node), do: join(state, node), else: state
        loop(state, caller)

      {^run, :join, node, tries} ->
        state |> join(node, tries) |> loop(caller)

      {:nodedown, _node} ->
        loop(state, caller)
    end
  end

  defp take(state, node, index, result) do
    case Book.result(state.book, node, index, result) do
      :known -> {:ok, state}
      {:new, book} -> keep(%{state | book: book}, index, result)
    end
  end

  # A result counts when it is recorded.
  defp keep(%{checkpoint: nil} = state, index, result), do: announce(state, index, result)

  defp keep(%{unsaved: waiting} = state, index, result) do
    if waiting == [], do: Process.send_after(self(), {state.run, :save}, @save_ms)
    unsaved = [{index, result} | waiting]
    state = %{state | unsaved: unsaved}
    if length(unsaved) >= state.options.checkpoint_every, do: save(state), else: {:ok, state}
  end

  defp save(%{unsaved: []} = state), do: {:ok, state}

  defp save(%{unsaved: unsaved} = state) do
    with {:ok, checkpoint} <- Checkpoint.record(state.checkpoint, Map.new(unsaved)) do
      unsaved
      |> Enum.reverse()
      |> Enum.reduce_while({:ok, %{state | checkpoint: checkpoint, unsaved: []}}, fn {index, result},
                                                                                     {:ok, state} ->
        with {:error, _} = error <- announce(state, index, result),
             do: {:halt, error},
             else: (ok -> {:cont, ok})
      end)
    end
  end

  defp announce(%{options: %{on_result: nil}} = state, _index, _result), do: {:ok, state}

  defp announce(state, index, result) do
    state.options.on_result.(index, result)
    {:ok, state}
  catch
    kind, reason -> {:error, {:on_result, failure(kind, reason, __STACKTRACE__)}}
  end

  defp lose(state, monitor, reason) do
    case Enum.find(state.runners, fn {_node, {_pid, ref, _}} -> ref == monitor end) do
      nil ->
        {:ok, state}

      {node, _runner} ->
        {given_up, book} = Book.lost(state.book, node, state.options.attempts)

        state = %{
          state
          | book: book,
            runners: Map.delete(state.runners, node),
            asked: MapSet.delete(state.asked, node),
            lost: [{node, why(reason)} | state.lost]
        }

        Enum.reduce_while(given_up, {:ok, state}, fn index, {:ok, state} ->
          case take(state, node, index, {:error, :node_down}) do
            {:ok, state} -> {:cont, {:ok, state}}
            error -> {:halt, error}
          end
        end)
    end
  end

  defp why({:shutdown, reason}), do: reason
  defp why(reason), do: reason

  defp join(state, node, tries \\ 1)
  defp join(state, node, _tries) when is_map_key(state.runners, node), do: state

  # The node may have its code loaded only later: then it does not take part.
  defp join(%{lost: lost} = state, node, tries) do
    case start_runners(state, [node]) do
      %{runners: %{^node => _}} = state -> feed(state, node)
      %{lost: [{^node, :noproc} | _]} = state -> join_later(%{state | lost: lost}, node, tries)
      state -> state
    end
  end

  # In a joined cluster: its fabric is up, and what answers there is not yet.
  defp join_later(state, node, @join_tries), do: %{state | lost: [{node, :noproc} | state.lost]}

  defp join_later(state, node, tries) do
    Process.send_after(self(), {state.run, :join, node, tries + 1}, @join_ms)
    state
  end

  # -- stealing ----------------------------------------------------------------------------------------------------

  defp feed_idle(state), do: state.runners |> Map.keys() |> Enum.reduce(state, &feed(&2, &1))

  # A node with nothing left gets what waits, or else the richest is asked to give half of what it has not begun.
  defp feed(state, node) do
    with {_pid, _monitor, concurrency} <- Map.get(state.runners, node),
         true <- MapSet.size(Map.fetch!(state.book.owned, node)) < concurrency do
      if state.book.waiting == [], do: steal(state, node), else: give(state, node, portion(state))
    else
      _ -> state
    end
  end

  defp portion(state), do: max(div(length(state.book.waiting), map_size(state.runners)), 1)

  defp steal(state, thief) do
    concurrency = fn node -> state.runners |> Map.fetch!(node) |> elem(2) end

    case Book.richest(state.book, thief, concurrency, state.asked) do
      nil ->
        state

      {victim, _spare} ->
        cast(state, victim, :give)
        %{state | asked: MapSet.put(state.asked, victim)}
    end
  end

  defp report(state) do
    %{
      results: for(index <- Enum.sort(Map.keys(state.book.items)), do: Map.fetch!(state.book.results, index)),
      nodes: state.book.done_by,
      stolen: state.book.stolen,
      reassigned: state.book.reassigned,
      recovered: state.recovered,
      lost_nodes: Enum.reverse(state.lost)
    }
  end
end
