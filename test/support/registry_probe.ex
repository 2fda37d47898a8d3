defmodule Foundation.RegistryProbe do
  @moduledoc false
  # What tests of the cluster's names run on other nodes: processes to name, and a child of a distributed supervisor that
  # counts, and writes down when it runs.

  use GenServer

  alias Foundation.{DistributedSupervisor, ProcessRegistry}

  @doc "Starts a process here that keeps its messages, and registers it: `{pid, answer}`."
  def name(name, options \\ []) do
    pid = spawn(fn -> keep([]) end)
    {pid, ProcessRegistry.register_global(name, pid, options)}
  end

  @doc "Many names for one process."
  def names(range, options \\ []) do
    pid = spawn(fn -> keep([]) end)
    for n <- range, do: :ok = ProcessRegistry.register_global({:many, n}, pid, options)
    pid
  end

  defp keep(messages) do
    receive do
      {:messages, from} ->
        send(from, {:messages, Enum.reverse(messages)})
        keep(messages)

      :end ->
        :ok

      message ->
        keep([message | messages])
    end
  end

  @doc "What the process has got."
  def messages(pid) do
    send(pid, {:messages, self()})

    receive do
      {:messages, messages} -> messages
    after
      5_000 -> raise "no answer"
    end
  end

  @doc "Resolves conflicts for the newer one, and remembers having been asked."
  def newer(_name, older, newer) do
    :persistent_term.put({__MODULE__, :asked}, [{older.pid, newer.pid} | asked()])
    newer.pid
  end

  def two(_before), do: 2
  def none(_name, _older, _newer), do: :none
  def rubbish(_name, _older, _newer), do: :whatever
  def crash(_name, _older, _newer), do: raise("no idea")

  def asked, do: :persistent_term.get({__MODULE__, :asked}, [])

  # -- a child

  def child_spec({supervisor, name}),
    do: %{id: name, start: {__MODULE__, :start_link, [{supervisor, name}]}, restart: :permanent}

  def start_link({supervisor, name}), do: GenServer.start_link(__MODULE__, {supervisor, name})

  @doc "The processes of that child on this node."
  def running(name) do
    for pid <- Process.list(),
        {:dictionary, dictionary} <- [Process.info(pid, :dictionary)],
        dictionary[__MODULE__] == name,
        do: pid
  end

  @impl true
  def init({supervisor, name}) do
    Process.put(__MODULE__, name)

    {:ok,
     %{
       supervisor: supervisor,
       name: name,
       token: DistributedSupervisor.fencing_token(supervisor, name),
       count: 0
     }}
  end

  @impl true
  def handle_call(:count, _from, state), do: {:reply, state.count + 1, %{state | count: state.count + 1}}
  def handle_call(:where, _from, state), do: {:reply, {node(), state.token, state.count}, state}
  def handle_call(:foundation_handoff, _from, state), do: {:reply, state.count, state}
  def handle_call(:crash, _from, _state), do: raise("as asked")

  @impl true
  def handle_info({:foundation_handoff, count}, state), do: {:noreply, %{state | count: count}}

  @doc "Starts a supervisor on this node that outlives the caller."
  def supervise(options) do
    {:ok, pid} = DynamicSupervisor.start_child(Foundation.ProcessSupervisor, {DistributedSupervisor, options})
    pid
  end

  @doc "May a child run there?"
  def gpu?(_node, metadata), do: match?(%{gpu: true}, metadata)
end
