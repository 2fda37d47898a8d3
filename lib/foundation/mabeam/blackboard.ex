defmodule Foundation.MABEAM.Blackboard do
  @moduledoc """
  Is a workspace that agents share: they post what they found, see what others posted, support it and build on it.

      {:ok, _} = Blackboard.open(:case_42)
      :ok = Blackboard.post(:case_42, :suspects, "butler", %{motive: :money}, author: :detective, confidence: 0.6)
      :ok = Blackboard.support(:case_42, :suspects, "butler", :inspector)
      {:ok, entry} = Blackboard.get(:case_42, :suspects, "butler")

  The architecture is Hayes-Roth's ("A Blackboard Architecture for Control", 1985): independent sources of knowledge that
  react to what appears on one board, without knowing each other. A board is a replicated state
  (`Foundation.Distributed.State`): each node that opens it has a whole copy, posts without asking anyone, and merges
  with the others. So:

  - What two agents post under one key without having seen each other's both stays; `Entry.contributions` has both, until
    somebody posts who has seen them.
  - A retraction takes away what its node had seen. What was posted or supported elsewhere meanwhile stays.
  - Support counts once for each agent, the last weight it gave.
  - Nothing here is exclusive. Who must be the only one to work on an entry takes a lock with a fencing token
    (`Foundation.Coordination`).

  Topics and keys are any terms, agents atoms or strings.

  **Scheduling**: posting, supporting and retracting run on the caller's normal scheduler below 100 µs (large values on a dirty
  one), reading a topic on a dirty CPU scheduler, as `Foundation.Distributed.State` says.
  """

  alias Foundation.Distributed.State
  alias Foundation.MABEAM.Blackboard.{Entry, Server}

  @type board :: atom
  @type agent_id :: atom | String.t()
  @type reason :: State.reason() | :not_found
  @type news :: {:posted | :supported | :retracted, topic :: term, key :: term}

  @doc """
  Opens this node's copy of a board: `{:ok, pid}`, also when it is open.

  Options are those of `Foundation.Distributed.State.new/3`: `:nodes`, `:replicas`, `:durable`, `:max_keys`, `:max_bytes`
  and so on. Errors: those of it. Raises ArgumentError for a name that is no atom, or what is no option.
  """
  @spec open(board, keyword) :: {:ok, pid} | {:error, term}
  def open(board, opts \\ []) when is_list(opts) do
    board!(board)

    with {:ok, _} <- State.new(state(board), type(), opts) do
      case DynamicSupervisor.start_child(Foundation.ProcessSupervisor, {Server, {board, opts}}) do
        {:ok, pid} -> {:ok, pid}
        {:error, {:already_started, pid}} -> {:ok, pid}
        {:error, reason} -> {:error, reason}
      end
    end
  catch
    :exit, {:noproc, _} -> {:error, :not_running}
  end

  @doc "Closes this node's copy. A durable copy stays. Errors: `{:error, :not_running}`."
  @spec close(board) :: :ok | {:error, :not_running}
  def close(board) do
    with pid when is_pid(pid) <- Process.whereis(Server.name(board!(board))),
         do: DynamicSupervisor.terminate_child(Foundation.ProcessSupervisor, pid)

    State.stop(state(board))
  end

  @doc """
  Posts a value under a key of a topic, in the place of what this node sees there.

  Options: `:author` (required), an agent's id; `:confidence` (1.0), from 0 to 1; `:level` and `:timeout` of
  `Foundation.Distributed.State.mutate/3`. Errors: those of it. Raises ArgumentError for bad options. O(value).
  """
  @spec post(board, term, term, term, keyword) :: :ok | {:error, reason}
  def post(board, topic, key, value, opts) do
    {own, opts} = Keyword.split(opts, [:author, :confidence])
    author = agent!(own[:author], ":author")
    confidence = confidence!(Keyword.get(own, :confidence, 1.0))
    said = %{value: value, author: author, confidence: confidence, at: System.system_time(:millisecond)}
    change(board, topic, {:update, key, {:update, :said, {:set, said}}}, opts)
  end

  @doc """
  Says that an agent supports an entry, with a weight (1): a number above 0.

  Options: `:level`, `:timeout`. Errors: `:not_found` (this node sees no such entry), those of
  `Foundation.Distributed.State.mutate/3`. O(1).
  """
  @spec support(board, term, term, agent_id, number, keyword) :: :ok | {:error, reason}
  def support(board, topic, key, agent, weight \\ 1, opts \\ []) do
    agent!(agent, "the agent")

    unless is_number(weight) and weight > 0,
      do: raise(ArgumentError, "a weight is a number above 0, got: #{inspect(weight)}")

    with {:ok, _} <- get(board, topic, key),
         do: change(board, topic, {:update, key, {:update, :support, {:put, agent, weight}}}, opts)
  end

  @doc "Takes an agent's support of an entry back. Errors: as `support/6`. O(1)."
  @spec withdraw(board, term, term, agent_id, keyword) :: :ok | {:error, reason}
  def withdraw(board, topic, key, agent, opts \\ []) do
    agent!(agent, "the agent")

    with {:ok, _} <- get(board, topic, key),
         do: change(board, topic, {:update, key, {:update, :support, {:remove, agent}}}, opts)
  end

  @doc "Takes an entry off the board. Options and errors: as `post/5`. O(parts of the entry)."
  @spec retract(board, term, term, keyword) :: :ok | {:error, reason}
  def retract(board, topic, key, opts \\ []), do: change(board, topic, {:remove, key}, opts)

  @doc "An entry: `{:ok, entry}`. Errors: `:not_found`, `:not_running`. O(entry)."
  @spec get(board, term, term) :: {:ok, Entry.t()} | {:error, :not_found | :not_running}
  def get(board, topic, key) do
    with {:ok, raw} <- State.read(state(board!(board)), [topic, key]) do
      case Entry.new(topic, key, raw) do
        %Entry{contributions: []} -> {:error, :not_found}
        entry -> {:ok, entry}
      end
    end
  end

  @doc """
  The entries of a topic, the best supported first: by the sum of the weights, then by the highest confidence, then by key.

  `{:ok, []}` for a topic nobody posted to. Errors: `:not_running`. O(n log n) in the entries of the topic.
  """
  @spec entries(board, term) :: {:ok, [Entry.t()]} | {:error, :not_running}
  def entries(board, topic) do
    case State.read(state(board!(board)), [topic]) do
      {:ok, raw} -> {:ok, sort(raw, topic)}
      {:error, :not_found} -> {:ok, []}
      {:error, reason} -> {:error, reason}
    end
  end

  defp sort(raw, topic) do
    entries =
      for {key, parts} <- raw,
          %Entry{contributions: [_ | _]} = entry <- [Entry.new(topic, key, parts)],
          do: entry

    Enum.sort_by(entries, &{-Entry.weight(&1), -Entry.confidence(&1), &1.key})
  end

  @doc "The topics that have entries. Errors: `:not_running`. O(entries of the board)."
  @spec topics(board) :: {:ok, [term]} | {:error, :not_running}
  def topics(board) do
    with {:ok, all} <- State.read(state(board!(board))) do
      {:ok, for({topic, raw} <- all, sort(raw, topic) != [], do: topic)}
    end
  end

  @doc """
  Tells the caller, or `:pid`, of what changes from now on, here and elsewhere: `{:foundation_blackboard, board, news}` with
  a list of `{:posted, topic, key}`, `{:supported, topic, key}` and `{:retracted, topic, key}`, or `:reset` when so much
  changed at once that reading again is cheaper.

  Options: `:topic` (all), `:pid`. It ends with the process. Errors: `:not_running`. O(1).
  """
  @spec watch(board, keyword) :: :ok | {:error, :not_running}
  def watch(board, opts \\ []) do
    for {key, _} <- opts,
        key not in [:topic, :pid],
        do: raise(ArgumentError, "watch/2 has the options :topic and :pid, got: #{inspect(key)}")

    topic = with {:ok, topic} <- Keyword.fetch(opts, :topic), do: {:only, topic}
    call(board, {:watch, Keyword.get(opts, :pid, self()), topic})
  end

  @doc "Ends what `watch/2` began, for the caller or `pid`. Errors: `:not_running`. O(watchers)."
  @spec unwatch(board, pid) :: :ok | {:error, :not_running}
  def unwatch(board, pid \\ self()) when is_pid(pid), do: call(board, {:unwatch, pid})

  @doc "How this node's copy is: as `Foundation.Distributed.State.status/1`."
  @spec status(board) :: {:ok, map} | {:error, :not_running}
  def status(board), do: State.status(state(board!(board)))

  @doc false
  def state(board), do: :"blackboard:#{board}"

  @doc false
  def type do
    entry = {:record, %{said: :mv_register, support: {:or_map, :lww_register}}}
    {:or_map, {:or_map, entry}}
  end

  defp change(board, topic, change, opts),
    do: State.mutate(state(board!(board)), {:update, topic, change}, opts)

  defp call(board, request) do
    GenServer.call(Server.name(board!(board)), request)
  catch
    :exit, _ -> {:error, :not_running}
  end

  defp board!(board) when is_atom(board) and board not in [nil, true, false], do: board
  defp board!(other), do: raise(ArgumentError, "a board is named by an atom, got: #{inspect(other)}")

  defp agent!(id, _what) when (is_atom(id) and id not in [nil, true, false]) or (is_binary(id) and id != ""),
    do: id

  defp agent!(other, what),
    do: raise(ArgumentError, "#{what} is an agent's id, an atom or a string, got: #{inspect(other)}")

  defp confidence!(number) when is_number(number) and number >= 0 and number <= 1, do: number

  defp confidence!(other),
    do: raise(ArgumentError, ":confidence is a number from 0 to 1, got: #{inspect(other)}")
end
