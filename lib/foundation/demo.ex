defmodule Foundation.Demo do
  @moduledoc """
  Analyses the BEAM files of the machine with Foundation's own services, as an example of their use.

  The files are spread over nodes that find each other, with work stealing; one of them is killed half-way, and nothing is
  lost or counted twice. On its node every file passes a limit over files and bytes, a breaker and a pool of parsers; what it says about its module is a
  durable event that follows from the event of its application, which follows from the event of the run. Times and
  sizes go to histograms. A second run recovers the store and reads only what has changed.

  With two nodes or more a market follows: agents of different skills, speeds and budgets bid for closer studies of the modules in combinatorial
  auctions (`Foundation.MABEAM`), a bandit finds how many modules they are given at once, another node is killed, and the
  agents vote on what heads the report.

  `mix foundation.demo` is the command.
  """

  alias Foundation.Demo.{Crew, Journal, Market, Measures, Reading, Report, Sources, Summary, Trace}
  alias Foundation.Events

  @type option ::
          {:out, Path.t()}
          | {:path, Path.t()}
          | {:limit, pos_integer}
          | {:quiet, boolean}
          | {:nodes, pos_integer}
          | {:kill, boolean}
          | {:market, boolean}

  @doc """
  Starts Foundation with the event store in `out`, made durable for each event; answers the microseconds it took.

  `{:error, :already_started}` when Foundation runs, because its store is another one.
  """
  @spec open(Path.t()) :: {:ok, non_neg_integer} | {:error, term}
  def open(out) do
    if List.keymember?(Application.started_applications(), :foundation, 0) do
      {:error, :already_started}
    else
      Application.put_env(:foundation, :events, path: store_path(out), sync: :always)
      {took, started} = :timer.tc(fn -> Application.ensure_all_started(:foundation) end)
      with {:ok, _applications} <- started, do: {:ok, took}
    end
  end

  @doc """
  Analyses the files and writes the report. Foundation runs with a durable store in `out`.

  Options: `out:` the directory of store and report (`"_build/demo"`), `path:` a glob of BEAM files (those of the
  running Erlang/OTP and Elixir), `limit:` at most so many files, `quiet:` shows no progress, `nodes:` works on so many
  nodes, this one and others that it starts (1), `kill: false` leaves them all alive (with three or more, one is killed in each half), `market: false` leaves out the second half.
  """
  @spec run([option]) :: {:ok, map} | {:error, term}
  def run(options \\ []) do
    out = Keyword.get(options, :out, "_build/demo")
    started = DateTime.utc_now()
    files = Sources.find(options[:path], options[:limit])

    with {:ok, known} <- Journal.recover(),
         :ok <- Measures.reset(),
         {kept, pending} = Enum.split_with(files, &unchanged?(&1, known)),
         {:ok, crew} <- crew(pending, Keyword.get(options, :nodes, 1)) do
      try do
        with {:ok, work} <- Reading.work(pending, crew, options),
             events = Enum.map(kept, &known[&1.path]) ++ work.events,
             {:ok, market} <- market(events, crew, options) do
          run = %{
            out: out,
            started_at: started,
            kept: length(kept),
            work: work,
            events: events,
            market: market
          }

          finish(run, options)
        end
      after
        crew && Crew.stop(crew)
      end
    end
  end

  # One node needs no others, and where nothing is to be read they are not needed yet.
  defp crew(pending, nodes) when pending == [] or nodes == 1, do: {:ok, nil}
  defp crew(_pending, nodes), do: Crew.start(nodes)

  defp market(events, crew, options) do
    if Keyword.get(options, :nodes, 1) > 1 and Keyword.get(options, :market, true) do
      facts = for %{event_type: :demo_module, data: facts} <- events, do: facts
      Market.run(facts, crew, Keyword.take(options, [:nodes, :kill, :quiet]))
    else
      {:ok, nil}
    end
  end

  defp unchanged?(file, known) do
    case Map.fetch(known, file.path) do
      {:ok, %{data: data}} -> data.bytes == file.bytes and data.mtime == file.mtime
      :error -> false
    end
  end

  # -- the result --------------------------------------------------------------------------------------------------

  defp finish(%{work: work, events: events, out: out} = run, options) do
    {modules, others} = Enum.split_with(events, &(&1.event_type == :demo_module))
    facts = modules |> Enum.map(& &1.data) |> Enum.sort_by(& &1.path)
    Enum.each(facts, &Measures.record/1)
    summary = Summary.of(facts)
    new = MapSet.new(work.events, & &1.event_id)

    with {:ok, search} <- search(),
         {:ok, trace} <- trace(modules) do
      result = %{
        started_at: run.started_at,
        kept: run.kept,
        done: Enum.count(modules, &MapSet.member?(new, &1.event_id)),
        failed: for(event <- others, do: %{path: event.data.path, reason: event.data.reason}),
        elapsed_us: work.elapsed_us,
        summary: summary,
        percentiles: Measures.percentiles(summary),
        limiter: work.limiter,
        cluster: work.cluster,
        market: run.market,
        search: search,
        trace: trace,
        store: %{
          path: store_path(out),
          bytes: disk_bytes(store_path(out)),
          recovery_us: Keyword.get(options, :recovery_us, 0)
        },
        report: Path.join(out, "report.html")
      }

      write(result)
    end
  end

  # Modules that call others a lot, the slowest first.
  defp search do
    query = [
      where: {:and, [{:==, :event_type, :demo_module}, {:>, [:data, :remote_calls], 200}]},
      order: [desc: [:data, :parse_us]],
      limit: 8
    ]

    {took, answer} = :timer.tc(fn -> Events.search(query) end)

    with {:ok, %{events: events}} <- answer, {:ok, stats} <- Events.stats() do
      hits = Enum.map(events, &Map.take(&1.data, [:module, :application, :parse_us]))
      {:ok, %{query: inspect(query), took_us: took, events: stats.current_event_count, hits: hits}}
    end
  end

  # The story of the application nearest to a handful of modules.
  defp trace([]), do: {:ok, ""}

  defp trace(modules) do
    {parent, _own} =
      modules |> Enum.group_by(& &1.parent_id) |> Enum.min_by(fn {_id, own} -> abs(length(own) - 6) end)

    Trace.draw(parent)
  end

  defp write(result) do
    temporary = result.report <> ".part"

    with :ok <- File.mkdir_p(Path.dirname(temporary)),
         :ok <- File.write(temporary, Report.render(result)),
         :ok <- File.rename(temporary, result.report) do
      {:ok, result}
    end
  end

  defp store_path(out), do: out |> Path.join("store") |> Path.expand()

  defp disk_bytes(directory) do
    for path <- Path.wildcard(Path.join(directory, "**")), File.regular?(path), reduce: 0 do
      sum -> sum + File.stat!(path).size
    end
  end
end
