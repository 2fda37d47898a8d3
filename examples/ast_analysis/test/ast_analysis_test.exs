defmodule AstAnalysisTest do
  # Real nodes, one of which is killed.
  use ExUnit.Case, async: false

  alias AstAnalysis.{Parser, Report, Source}

  @tag timeout: 180_000
  test "what the agents find, though one of three nodes is killed, is what is there" do
    result = AstAnalysis.run(apps: ["eex", "logger"], analysts: 4)

    assert %{lost: [], doubled: [], modules: modules} = result.audit
    assert modules == length(result.sources)
    assert %{node: killed, analysts: [_ | _]} = result.lost
    refute is_map_key(result.nodes, killed)
    assert result.nodes |> Map.values() |> Enum.concat() |> length() == 4

    # The same, found by one process without any agent; the sample has changed since.
    installed = Enum.reject(result.sources, &(&1.module == AstAnalysis.Sample.Till))
    facts = for source <- installed, {:ok, facts} <- [Parser.read(source.path)], do: facts
    functions = for module <- facts, function <- module.functions, do: function
    calls = functions |> Enum.map(&length(&1.calls)) |> Enum.sum()
    assert result.totals.modules == length(facts) + 1
    assert result.totals.functions > length(functions)
    assert result.totals.calls >= calls

    assert result.answers.who_calls == []
    assert [{{AstAnalysis.Sample.Till, :discounted, 2}, _}, _] = result.answers_after.who_calls
    assert result.answers_after.most_complex == result.answers.most_complex
    assert {Enum, :sum, 1} in result.answers.call_graph[{AstAnalysis.Sample.Till, :total, 1}]

    assert result.changes == %{changed: [AstAnalysis.Sample.Till], added: [], removed: []}
    assert %{lost: [], doubled: []} = result.audit_after
    assert result |> Report.render() |> IO.iodata_to_binary() =~ "lost: 0, doubled: 0"
  end

  test "blocks are of one application and as large as they may be" do
    sources = ["eex", "logger"] |> Source.installed() |> Source.find()
    blocks = Source.blocks(sources, 30_000)
    assert Enum.flat_map(blocks, & &1.sources) == sources

    for block <- blocks do
      assert [_one] = block.sources |> Enum.map(& &1.application) |> Enum.uniq()
      assert block.bytes <= 30_000 or length(block.sources) == 1
    end
  end
end
