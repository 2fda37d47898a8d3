defmodule Foundation.Demo.Journal do
  @moduledoc false
  # What the demo remembers: durable events, each with the one it followed from.
  #
  #     demo_run → demo_application → demo_module | demo_unreadable | demo_refused
  #     demo_run → demo_finished
  #     demo_market → demo_auction → demo_study
  #     demo_market → demo_market_closed
  #
  # The event of a file has an id made from its path, so that analysing the file again replaces what was known of it.

  alias Foundation.Events
  alias Foundation.Types.Event

  @page 500

  @type known :: %{Path.t() => Event.t()}

  @doc "The last event of every file ever read."
  @spec recover() :: {:ok, known} | {:error, term}
  def recover do
    with {:ok, events} <- all([where: {:in, :event_type, [:demo_module, :demo_unreadable]}, limit: @page], []) do
      {:ok, Map.new(events, &{&1.data.path, &1})}
    end
  end

  @doc "The last study of every file that was in the market."
  @spec studies() :: {:ok, known} | {:error, term}
  def studies do
    with {:ok, events} <- all([where: {:==, :event_type, :demo_study}, limit: @page], []) do
      {:ok, Map.new(events, &{&1.data.path, &1})}
    end
  end

  defp all(query, pages) do
    case Events.search(query) do
      {:ok, %{events: events, cursor: nil}} ->
        {:ok, Enum.concat(Enum.reverse([events | pages]))}

      {:ok, %{events: events, cursor: cursor}} ->
        query |> Keyword.put(:cursor, cursor) |> all([events | pages])

      {:error, _} = error ->
        error
    end
  end

  @doc "Opens a run; its event id and correlation id are what the following events hang on."
  @spec open_run(map) :: {:ok, Event.t()} | {:error, term}
  def open_run(data) do
    with {:ok, event} <- Events.new_event(:demo_run, data, event_id: fresh_id()),
         {:ok, _id} <- Events.store(event),
         do: {:ok, event}
  end

  @doc "One event for each application, following from the run: application => event."
  @spec open_applications([{String.t(), non_neg_integer}], Event.t()) ::
          {:ok, %{String.t() => Event.t()}} | {:error, term}
  def open_applications(applications, run) do
    events =
      for {name, files} <- applications do
        event(:demo_application, %{application: name, files: files}, run, fresh_id())
      end

    with {:ok, _ids} <- Events.store_batch(events), do: {:ok, Map.new(events, &{&1.data.application, &1})}
  end

  @doc "The event of a file that was read, or could not be."
  @spec file_event(
          Foundation.Demo.Sources.file(),
          Foundation.Demo.Guard.outcome(),
          non_neg_integer,
          Event.t(),
          node
        ) ::
          Event.t()
  def file_event(file, {:ok, facts}, took, parent, where) do
    data =
      Map.merge(facts, file |> Map.take([:path, :application, :bytes, :mtime]) |> Map.put(:parse_us, took))

    event(:demo_module, data, parent, file_id(file.path), node: where)
  end

  def file_event(file, {outcome, reason}, _took, parent, where) do
    type = if outcome == :error, do: :demo_unreadable, else: :demo_refused
    data = file |> Map.take([:path, :application, :bytes, :mtime]) |> Map.put(:reason, reason)
    event(type, data, parent, file_id(file.path), node: where)
  end

  @doc "Opens a market."
  @spec open_market(map) :: {:ok, Event.t()} | {:error, term}
  def open_market(data) do
    with {:ok, event} <- Events.new_event(:demo_market, data, event_id: fresh_id()),
         {:ok, _id} <- Events.store(event),
         do: {:ok, event}
  end

  @doc "One auction of a market, from which the studies follow that were sold in it."
  @spec open_auction(map, Event.t()) :: {:ok, Event.t()} | {:error, term}
  def open_auction(data, market) do
    auction = event(:demo_auction, data, market, fresh_id())
    with :ok <- keep([auction]), do: {:ok, auction}
  end

  @doc "The event of a file that was studied on a node, or could not be; the same file has the same again."
  @spec study_event(map, Event.t(), node) :: Event.t()
  def study_event(%{path: path} = data, auction, where),
    do: event(:demo_study, data, auction, study_id(path), node: where)

  @doc "Closes a market."
  @spec close_market(Event.t(), map) :: :ok | {:error, term}
  def close_market(market, data), do: keep([event(:demo_market_closed, data, market, fresh_id())])

  @doc "The event of the last market that was closed; nil before there was one."
  @spec last_market() :: {:ok, Event.t() | nil} | {:error, term}
  def last_market, do: last(:demo_market_closed)

  @doc "Keeps the events; they are on the disk when this returns `:ok`."
  @spec keep([Event.t()]) :: :ok | {:error, term}
  def keep([]), do: :ok
  def keep(events), do: with({:ok, _ids} <- Events.store_batch(events), do: :ok)

  @doc "Closes a run."
  @spec close_run(Event.t(), map) :: :ok | {:error, term}
  def close_run(run, data), do: keep([event(:demo_finished, data, run, fresh_id())])

  @doc "The event of the last run that had work to do; nil before there was one."
  @spec last_finished() :: {:ok, Event.t() | nil} | {:error, term}
  def last_finished, do: last(:demo_finished)

  defp last(type) do
    query = [where: {:==, :event_type, type}, order: [desc: :wall_time], limit: 1]
    with {:ok, %{events: events}} <- Events.search(query), do: {:ok, List.first(events)}
  end

  defp event(type, data, parent, id, more \\ []) do
    options = [event_id: id, parent_id: parent.event_id, correlation_id: parent.correlation_id] ++ more
    {:ok, event} = Events.new_event(type, data, options)
    event
  end

  # Ids of studies have bit 58 set, ids of files bit 57 and ids of runs bit 56, so that none meets another nor a small id of
  # the store.
  defp study_id(path), do: Bitwise.bor(Bitwise.bsl(1, 58), hash(path))
  defp file_id(path), do: Bitwise.bor(Bitwise.bsl(1, 57), hash(path))

  defp hash(path) do
    <<hash::56, _::binary>> = :crypto.hash(:sha256, path)
    hash
  end

  defp fresh_id do
    <<random::56>> = :crypto.strong_rand_bytes(7)
    Bitwise.bor(Bitwise.bsl(1, 56), random)
  end
end
