defmodule AstAnalysis.Index do
  @moduledoc """
  What a debugger asks: who calls a function, what it calls, where it can be instrumented, what is complex.

  The index knows which analyst has which module; the answers are the analysts'. `refresh/2` analyses what has changed since,
  and nothing else.
  """

  alias AstAnalysis.{Ask, Groups, Journal, Source}

  @enforce_keys [:analysts, :run, :groups]
  defstruct [:analysts, :run, :groups, owners: %{}, sources: %{}]

  @type t :: %__MODULE__{
          analysts: [String.t()],
          run: Foundation.Types.Event.t(),
          groups: %{String.t() => Foundation.Types.Event.t()},
          owners: %{module => String.t()},
          sources: %{module => Source.t()}
        }

  @batch 8

  @doc "An index of the modules in these blocks, whose `owners` the analysts are; nothing is analysed yet."
  @spec new([Source.block()], %{String.t() => String.t()}, [String.t()], Foundation.Types.Event.t()) :: t
  def new(blocks, owners, analysts, run) do
    sources = for block <- blocks, source <- block.sources, do: {source, owners[block.name]}

    groups =
      for analyst <- analysts, into: %{} do
        modules = for {source, ^analyst} <- sources, do: source.module
        {analyst, Journal.group(run, %{analyst: analyst, modules: length(modules)})}
      end

    %__MODULE__{
      analysts: analysts,
      run: run,
      groups: groups,
      owners: Map.new(sources, fn {source, analyst} -> {source.module, analyst} end),
      sources: Map.new(sources, fn {source, _analyst} -> {source.module, source} end)
    }
  end

  @doc """
  Has all modules analysed, by all analysts at once, while it is enumerated: after each batch, the number of modules done.
  """
  @spec analyse(t) :: Enumerable.t()
  def analyse(index), do: index.sources |> Map.values() |> analyse(index)

  defp analyse(sources, index) do
    sources
    |> Enum.group_by(&index.owners[&1.module])
    |> Enum.flat_map(fn {analyst, own} ->
      own |> Enum.chunk_every(@batch) |> Enum.with_index(&{&2, analyst, &1})
    end)
    # The first batch of each, then the second of each.
    |> Enum.sort_by(fn {turn, analyst, _batch} -> {turn, analyst} end)
    |> Task.async_stream(&have_analysed(&1, index),
      max_concurrency: 2 * length(index.analysts),
      ordered: false,
      timeout: :infinity
    )
    |> Stream.scan(0, fn {:ok, count}, done -> done + count end)
  end

  defp have_analysed({_turn, analyst, batch}, index) do
    {:ok, summaries} = Ask.task(analyst, {:analyse, batch})
    :ok = Journal.analysed(index.groups[analyst], analyst, summaries)
    length(batch)
  end

  @doc """
  Compares with the files as they are now and analyses what has changed: the new index, and which modules were `changed`,
  `added` and `removed`. An added module goes to an analyst by contract net.
  """
  @spec refresh(t, [Source.t()]) :: {t, %{changed: [module], added: [module], removed: [module]}}
  def refresh(index, now) do
    known = index.sources
    changed = Enum.filter(now, &(is_map_key(known, &1.module) and known[&1.module].digest != &1.digest))
    added = Enum.reject(now, &is_map_key(known, &1.module))
    removed = Map.keys(known) -- Enum.map(now, & &1.module)

    index = index |> forget(removed) |> adopt(added)
    index = %{index | sources: Map.new(now, &{&1.module, &1})}
    changed |> Enum.concat(added) |> analyse(index) |> Stream.run()
    {index, %{changed: names(changed), added: names(added), removed: removed}}
  end

  defp names(sources), do: Enum.map(sources, & &1.module)

  defp forget(index, modules) do
    for {analyst, own} <- Enum.group_by(modules, &index.owners[&1]),
        do: {:ok, :forgotten} = Ask.task(analyst, {:forget, own})

    %{index | owners: Map.drop(index.owners, modules)}
  end

  defp adopt(index, sources) do
    blocks = for source <- sources, block <- Source.blocks([source], source.bytes), do: block

    owners =
      for %{sources: [source]} = block <- blocks, into: index.owners do
        {analyst, _session} = Groups.tender(block, %{}, index.analysts)
        {source.module, analyst}
      end

    %{index | owners: owners}
  end

  # -- questions -----------------------------------------------------------------------------------------------------

  @doc "Who calls a function, and on which lines, in all groups."
  @spec who_calls(t, mfa) :: [{mfa, pos_integer}]
  def who_calls(index, mfa), do: index.analysts |> Ask.all({:callers, mfa}) |> Enum.concat() |> Enum.sort()

  @doc "What a function calls, and what that calls, `depth` calls deep: each function reached, with what it calls."
  @spec call_graph(t, mfa, pos_integer) :: %{mfa => [mfa]}
  def call_graph(index, mfa, depth), do: call_graph([mfa], index, depth, %{})

  defp call_graph([], _index, _depth, graph), do: graph
  defp call_graph(_mfas, _index, 0, graph), do: graph

  defp call_graph(mfas, index, depth, graph) do
    found =
      mfas
      |> Enum.group_by(fn {module, _name, _arity} -> index.owners[module] end)
      |> Map.delete(nil)
      |> Enum.map(fn {analyst, own} -> Ask.one(analyst, {:callees, own}) end)
      |> Enum.reduce(%{}, &Map.merge/2)

    graph = Map.merge(graph, found)
    next = found |> Map.values() |> Enum.concat() |> Enum.uniq() |> Enum.reject(&is_map_key(graph, &1))
    call_graph(next, index, depth - 1, graph)
  end

  @doc "Where the functions of a module can be instrumented. Errors: `:unknown_module`, `:no_debug_info`."
  @spec points(t, module) :: {:ok, [{mfa, [AstAnalysis.Parser.point()]}]} | {:error, atom}
  def points(index, module) do
    case index.owners do
      %{^module => analyst} -> Ask.one(analyst, {:points, module})
      _ -> {:error, :unknown_module}
    end
  end

  @doc "The most complex functions of all groups, and their complexity."
  @spec most_complex(t, pos_integer) :: [{mfa, pos_integer}]
  def most_complex(index, count) do
    index.analysts
    |> Ask.all({:most_complex, count})
    |> Enum.concat()
    |> Enum.sort_by(fn {mfa, complexity} -> {-complexity, mfa} end)
    |> Enum.take(count)
  end

  @doc """
  Whether each module is in the group of exactly one analyst and was told of exactly once: the modules that are `lost` or
  `doubled`.
  """
  @spec audit(t) :: %{modules: non_neg_integer, lost: [module], doubled: [module]}
  def audit(index) do
    held = index.analysts |> Ask.all(:modules) |> Enum.concat()
    told = for %{module: module, digest: digest} <- Journal.modules(index.run), do: {module, digest}
    current = for {module, source} <- index.sources, do: {module, source.digest}
    expected = Map.keys(index.sources)

    %{
      modules: length(expected),
      lost: Enum.uniq((expected -- held) ++ Keyword.keys(current -- told)),
      doubled: Enum.uniq((held -- expected) ++ Keyword.keys(told -- Enum.uniq(told)))
    }
  end
end
