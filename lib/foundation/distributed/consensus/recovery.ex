defmodule Foundation.Distributed.Consensus.Recovery do
  @moduledoc false
  # Looks at a log that nobody uses, and makes its node the only member of a group.

  alias Foundation.Native

  @word "the majority is lost"
  @wait_ms 30_000
  @load_ms 5_000

  @doc "The word without which nothing is changed."
  @spec word() :: String.t()
  def word, do: @word

  @doc "The groups in a directory, with what this node's log says of each."
  @spec groups(Path.t(), String.t()) :: {:ok, [map]} | {:error, term}
  def groups(dir, node),
    do: with_engine(dir, node, &{:ok, Enum.map(Native.consensus_stored(&1), fn name -> look(&1, name) end)})

  @doc "Makes the node the only voter of the group. Errors: `:no_word`, `:not_found`, and what the disk says."
  @spec recover(Path.t(), String.t(), String.t(), String.t() | nil) :: :ok | {:error, term}
  def recover(dir, node, group, @word) do
    with_engine(dir, node, fn engine ->
      if group in Native.consensus_stored(engine),
        do: Native.consensus_recover(engine, group, @word),
        else: {:error, :not_found}
    end)
  end

  def recover(_dir, _node, _group, _word), do: {:error, :no_word}

  defp with_engine(dir, node, function) do
    options = %{me: node, dir: dir, sync: true, heartbeat_ms: 75, election_min_ms: 300, election_max_ms: 600}

    if File.dir?(dir) do
      with {:ok, engine} <- Native.consensus_start(options, self()) do
        answer = function.(engine)
        Native.consensus_stop(engine)
        answer
      end
    else
      {:error, :enoent}
    end
  end

  # Its members are known once it is started; it can do nothing, for its frames go nowhere.
  defp look(engine, name) do
    reference = make_ref()
    options = %{max_in_flight: 1, max_command: 4 * 1024 * 1024, snapshot_entries: 1_000_000}
    machine = spawn_link(&answer/0)
    :ok = Native.consensus_group_start(engine, reference, name, [], options, {:process, machine})

    status =
      receive do
        {^reference, {:ok, group}} -> status(group, System.monotonic_time(:millisecond) + @load_ms)
        {^reference, {:error, reason}} -> %{group: name, term: nil, last_index: inspect(reason), voters: []}
      after
        @wait_ms -> %{group: name, term: nil, last_index: nil, voters: []}
      end

    Native.consensus_group_stop(engine, name)
    Process.unlink(machine)
    Process.exit(machine, :kill)
    status
  end

  # A group tells its members as soon as it has read them; one that has none never does.
  defp status(group, deadline) do
    case Native.consensus_status(group) do
      %{voters: []} = status ->
        if System.monotonic_time(:millisecond) > deadline do
          status
        else
          receive do
          after
            5 -> status(group, deadline)
          end
        end

      status ->
        status
    end
  end

  # A machine of any kind: it keeps nothing.
  defp answer do
    receive do
      {:foundation_machine, ticket, {:apply, entries}} ->
        Native.consensus_answer_large(ticket, Enum.map(entries, fn _ -> "" end))

      {:foundation_machine, ticket, {:restore, _snapshot}} ->
        Native.consensus_answer_large(ticket, :ok)

      {:foundation_machine, ticket, _question} ->
        Native.consensus_answer_large(ticket, "")

      _other ->
        :ok
    end

    answer()
  end
end
