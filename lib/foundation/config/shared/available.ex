defmodule Foundation.Config.Shared.Available do
  @moduledoc false
  # Paths that may be set on every side of a split: a replicated state with a multi-value register for each. What was set
  # at the same time is all there until it is resolved; meanwhile the latest is in force, the same on each node.

  alias Foundation.Config.Shared.{Merge, Settings}
  alias Foundation.Distributed.State
  alias Foundation.Distributed.State.Wire
  alias Foundation.Peers

  @name :foundation_config
  @type_of_state {:or_map, :mv_register}
  @ask_ms 2_000
  @poll_ms 20

  @type entry :: Merge.entry()

  @doc "Starts this node's replica, if it does not run."
  @spec ensure(Settings.t()) :: :ok | {:error, term}
  def ensure(settings) do
    if running?() do
      :ok
    else
      with {:ok, _pid} <- State.new(@name, @type_of_state, settings.state), do: :ok
    end
  end

  @doc "Whether there is a replica on this node. Asked by others."
  @spec running?() :: boolean
  def running?, do: match?({:ok, _}, State.status(@name))

  @doc "The replica's process, to be monitored."
  @spec process() :: pid | atom
  def process, do: Process.whereis(Wire.process(@name)) || Wire.process(@name)

  @doc "Tells the caller of changes: `{:foundation_state, :foundation_config, _}`."
  @spec subscribe() :: :ok | {:error, :not_running}
  def subscribe, do: State.subscribe(@name)

  @doc "Waits until this replica has been the same as that of each node that has one: `:ok` or those it was not."
  @spec caught_up(integer) :: :ok | {:error, {:not_caught_up, [node]}}
  def caught_up(deadline) do
    {answers, _missing} = Peers.ask(Peers.nodes() -- [node()], {__MODULE__, :running?, []}, @ask_ms)
    wait(for({node, true} <- answers, do: node), deadline)
  end

  defp wait(nodes, deadline) do
    _ = State.sync(@name)

    # Who is gone meanwhile cannot be waited for.
    missing = Enum.filter(nodes -- equal(), &(&1 in Peers.nodes()))

    cond do
      missing == [] ->
        :ok

      System.monotonic_time(:millisecond) >= deadline ->
        {:error, {:not_caught_up, missing}}

      true ->
        receive do
        after
          @poll_ms -> wait(missing, deadline)
        end
    end
  end

  defp equal do
    case State.status(@name) do
      {:ok, status} -> for peer <- status.peers, peer.equal_ms_ago != nil, do: peer.node
      {:error, :not_running} -> []
    end
  end

  @doc "Sets a path here; the others hear of it by and by."
  @spec put([atom], term, term, keyword) :: :ok | {:error, term}
  def put(path, value, author, options) do
    before = entries(path)
    at = Enum.max([System.os_time(:millisecond) | Enum.map(before, &(&1.at + 1))])

    base =
      case before do
        [] -> :missing
        _ -> {:ok, Merge.latest(before).value}
      end

    write(path, %{value: value, at: at, author: author, node: node(), side: side(), base: base}, options)
  end

  # How many nodes hear of it at once: what a majority is judged by.
  defp side, do: length(Peers.nodes())

  @doc "Puts what a conflict has come to in the place of all that it was about."
  @spec resolve([atom], entry) :: :ok | {:error, term}
  def resolve(path, entry), do: write(path, entry, [])

  defp write(path, entry, options),
    do: State.mutate(@name, {:update, path, {:set, entry}}, Keyword.take(options, [:level, :timeout]))

  @doc "Forgets a path that the cluster has agreed on since."
  @spec remove([atom]) :: :ok | {:error, term}
  def remove(path) do
    if entries(path) == [], do: :ok, else: State.mutate(@name, {:remove, path})
  end

  @doc "Every path with its entries: several when it was set on nodes that did not know of each other."
  @spec all() :: %{[atom] => [entry, ...]}
  def all do
    case State.read(@name) do
      {:ok, paths} -> for {path, entries} <- paths, entries != [], into: %{}, do: {path, distinct(entries)}
      {:error, _} -> %{}
    end
  end

  @doc "A path's entries."
  @spec entries([atom]) :: [entry]
  def entries(path) do
    case State.read(@name, [path]) do
      {:ok, entries} -> distinct(entries)
      {:error, _} -> []
    end
  end

  # The same resolution, made on two nodes, is one.
  defp distinct(entries), do: entries |> Enum.uniq() |> Enum.sort_by(&{&1.at, &1.node})

  @doc "The value of each path that is in force."
  @spec values(%{[atom] => [entry, ...]}) :: %{[atom] => term}
  def values(all), do: Map.new(all, fn {path, entries} -> {path, Merge.latest(entries).value} end)

  @doc "The paths that were set to different values by nodes that did not know of each other."
  @spec conflicts(%{[atom] => [entry, ...]}) :: %{[atom] => [entry, ...]}
  def conflicts(all), do: Map.filter(all, fn {_path, entries} -> Merge.conflict?(entries) end)
end
