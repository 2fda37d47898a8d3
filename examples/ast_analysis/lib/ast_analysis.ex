defmodule AstAnalysis do
  @moduledoc """
  Analyses compiled modules for a debugger, by agents on three nodes, one for each group of modules.

  `run/1` does all of it once: the nodes are started, the groups formed, the modules analysed while one node is killed,
  questions asked, a module changed, and what it changes analysed again.
  """

  alias AstAnalysis.{Crew, Groups, Index, Journal, Sample, Source}
  alias Foundation.Distributed.Context

  @nodes 3
  @blocks_each 5
  @applications ~w(elixir eex ex_unit logger mix stdlib kernel)

  @type option ::
          {:apps, [String.t()]} | {:limit, pos_integer} | {:analysts, pos_integer} | {:kill, boolean}

  @doc """
  Options: `apps:` the installed applications to analyse (those of Elixir, stdlib and kernel), `limit:` at most so many
  modules, `analysts:` how many agents (6), `kill:` false leaves all nodes alive.
  """
  @spec run([option]) :: map
  def run(options \\ []) do
    workspace =
      Path.join(System.tmp_dir!(), "ast_analysis_#{System.unique_integer([:positive])}_#{System.pid()}")

    sample = Sample.write(workspace)
    crew = Crew.start(@nodes)

    try do
      Context.run(%{debugger: :ast_analysis}, fn -> analyse(options, sample, workspace, crew) end)
    after
      Crew.stop(crew)
      File.rm_rf!(workspace)
    end
  end

  defp analyse(options, sample, workspace, crew) do
    find = fn -> sources(options, sample) end
    sources = find.()
    analysts = Crew.place(crew, Keyword.get(options, :analysts, 6))
    bytes = sources |> Enum.map(& &1.bytes) |> Enum.sum()
    blocks = Source.blocks(sources, div(bytes, @blocks_each * length(analysts)) + 1)

    run = Journal.open(%{modules: length(sources), bytes: bytes})
    groups = Groups.form(blocks, analysts)
    index = Index.new(blocks, groups.owners, analysts, run)

    {elapsed_us, lost} = :timer.tc(fn -> analyse_all(index, crew, Keyword.get(options, :kill, true)) end)
    # Every analyst is asked, and so each is somewhere again.
    audit = Index.audit(index)
    answers = questions(index)
    Sample.change(workspace)
    {index, changes} = Index.refresh(index, find.())

    %{
      run: run,
      sources: sources,
      blocks: blocks,
      groups: groups,
      sizes: index.owners |> Map.values() |> Enum.frequencies(),
      elapsed_us: elapsed_us,
      lost: lost,
      nodes: Crew.whereabouts(crew),
      audit: audit,
      audit_after: Index.audit(index),
      totals: totals(run, index),
      answers: answers,
      changes: changes,
      answers_after: questions(index)
    }
  end

  defp sources(options, sample) do
    installed = options |> Keyword.get(:apps, @applications) |> Source.installed() |> Source.find()
    Enum.take(installed, Keyword.get(options, :limit, length(installed))) ++ Source.find([sample])
  end

  # One node is killed when half of the modules are done.
  defp analyse_all(index, crew, kill?) do
    half = div(map_size(index.sources), 2)

    Enum.reduce(Index.analyse(index), nil, fn
      done, nil when kill? and done >= half -> Map.put(Crew.kill_one(crew), :done, done)
      _done, lost -> lost
    end)
  end

  defp questions(index) do
    till = AstAnalysis.Sample.Till

    %{
      who_calls: Index.who_calls(index, {till, :total, 1}),
      call_graph: Index.call_graph(index, {till, :total, 1}, 3),
      points: Index.points(index, till),
      most_complex: Index.most_complex(index, 5)
    }
  end

  # Of each module what was said of it as it is now.
  defp totals(run, index) do
    current = Map.new(index.sources, fn {module, source} -> {module, source.digest} end)
    said = for summary <- Journal.modules(run), current[summary.module] == summary.digest, do: summary
    {failed, read} = Enum.split_with(said, &is_map_key(&1, :error))

    for key <- [:functions, :points, :calls, :complexity],
        into: %{modules: length(read), without_debug_info: length(failed)},
        do: {key, read |> Enum.map(& &1[key]) |> Enum.sum()}
  end
end
