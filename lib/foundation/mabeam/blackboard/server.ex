defmodule Foundation.MABEAM.Blackboard.Server do
  @moduledoc false
  # Turns the diffs of a board's state into news, for those who watch topics of it. The board itself needs no process: this
  # one owns the list of watchers only.

  use GenServer

  alias Foundation.Distributed.State
  alias Foundation.MABEAM.Blackboard

  @again_ms 50

  @spec name(atom) :: atom
  def name(board), do: :"blackboard_watch:#{board}"

  def child_spec({board, opts}),
    do: %{id: {__MODULE__, board}, start: {__MODULE__, :start_link, [board, opts]}, restart: :transient}

  def start_link(board, opts), do: GenServer.start_link(__MODULE__, {board, opts}, name: name(board))

  @impl true
  def init({board, opts}) do
    # Not here: the supervisor that waits for this process is the one that starts the replica.
    {:ok, %{board: board, opts: opts, watchers: %{}, replica: nil}, {:continue, :follow}}
  end

  @impl true
  def handle_continue(:follow, state), do: {:noreply, follow(state)}

  # The replica's own supervisor starts it again; its list of subscribers begins empty then.
  defp follow(state) do
    with {:ok, pid} <- State.new(Blackboard.state(state.board), Blackboard.type(), state.opts),
         :ok <- State.subscribe(Blackboard.state(state.board)) do
      %{state | replica: Process.monitor(pid)}
    else
      {:error, _} ->
        Process.send_after(self(), :follow, @again_ms)
        %{state | replica: nil}
    end
  end

  @impl true
  def handle_call({:watch, pid, topic}, _from, state) do
    {:reply, :ok, put_in(state.watchers[Process.monitor(pid)], {pid, topic})}
  end

  def handle_call({:unwatch, pid}, _from, state) do
    {gone, kept} = Enum.split_with(state.watchers, fn {_, {watcher, _}} -> watcher == pid end)
    for {ref, _} <- gone, do: Process.demonitor(ref, [:flush])
    {:reply, :ok, %{state | watchers: Map.new(kept)}}
  end

  def handle_call(_other, _from, state), do: {:reply, {:error, :unknown_request}, state}

  @impl true
  def handle_cast(_other, state), do: {:noreply, state}

  @impl true
  def handle_info({:foundation_state, _name, :reset}, state) do
    for {_, {pid, _}} <- state.watchers, do: send(pid, {:foundation_blackboard, state.board, :reset})
    {:noreply, state}
  end

  def handle_info({:foundation_state, _name, diffs}, state) do
    news = news(diffs, state.board)

    for {_, {pid, topic}} <- state.watchers,
        [_ | _] = mine <- [for({_, of, _} = one <- news, topic in [:error, {:only, of}], do: one)],
        do: send(pid, {:foundation_blackboard, state.board, mine})

    {:noreply, state}
  end

  # What was missed while the replica was away is for the watchers to read.
  def handle_info({:DOWN, ref, :process, _pid, reason}, %{replica: ref} = state) do
    if reason in [:normal, :shutdown] do
      {:stop, :normal, state}
    else
      Process.send_after(self(), :follow, @again_ms)
      {:noreply, %{state | replica: nil}}
    end
  end

  def handle_info({:DOWN, ref, :process, _pid, _reason}, state) do
    {:noreply, %{state | watchers: Map.delete(state.watchers, ref)}}
  end

  def handle_info(:follow, state) do
    state = follow(state)

    if state.replica,
      do: for({_, {pid, _}} <- state.watchers, do: send(pid, {:foundation_blackboard, state.board, :reset}))

    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  # Several diffs of an entry are one piece of news; that of its value before that of its support.
  defp news(diffs, board) do
    diffs
    |> Enum.flat_map(&what/1)
    |> Enum.uniq()
    |> Enum.group_by(fn {_, topic, key} -> {topic, key} end, &elem(&1, 0))
    |> Enum.map(fn {{topic, key}, kinds} -> {kind(kinds, board, topic, key), topic, key} end)
  end

  defp kind(kinds, board, topic, key) do
    cond do
      :retracted in kinds and Blackboard.get(board, topic, key) == {:error, :not_found} -> :retracted
      :posted in kinds or :retracted in kinds -> :posted
      true -> :supported
    end
  end

  defp what({:put, [topic, key, :said | _], _}), do: [{:posted, topic, key}]
  defp what({_, [topic, key, :support | _], _}), do: [{:supported, topic, key}]
  defp what({:delete, [topic, key, :support | _]}), do: [{:supported, topic, key}]
  defp what({:delete, [topic, key | _]}), do: [{:retracted, topic, key}]
  defp what(_other), do: []
end
