defmodule Foundation.Demo.MarketTest do
  # What the market's agents do without a market: studies, lots, bids, findings.
  use ExUnit.Case, async: true

  alias Foundation.Demo.BeamFacts
  alias Foundation.Demo.Market.{Analyst, Bids, CallGraph, Complexity, Findings, Lots, Study}

  defp compile(source) do
    forms =
      for form <- String.split(source, ".\n", trim: true) do
        {:ok, tokens, _} = :erl_scan.string(String.to_charlist(form <> "."))
        {:ok, form} = :erl_parse.parse_form(tokens)
        form
      end

    {:ok, _module, binary} = :compile.forms(forms, [:debug_info, :nowarn_unused_function])
    {forms, binary}
  end

  @sample """
  -module(market_sample).
  -export([pick/1, even/1, start/0]).
  pick(X) when X > 3 -> case X of 4 -> a; 5 -> b; _ -> c end.
  even(0) -> true; even(N) -> odd(N - 1).
  odd(0) -> false; odd(N) -> even(N - 1).
  start() -> one().
  one() -> two().
  two() -> three(lists:map(fun(X) -> X end, [])).
  three(X) -> lists:no_such_function(X) andalso even(2).
  forgotten() -> one().
  """

  defp file(binary) do
    path = Path.join(System.tmp_dir!(), "market_sample_#{System.unique_integer([:positive])}.beam")
    File.write!(path, binary)
    on_exit(fn -> File.rm(path) end)
    path
  end

  describe "studies" do
    test "say what is complex, circular, deep, unreached and called in vain" do
      {_forms, binary} = compile(@sample)
      assert {:ok, study} = binary |> file() |> Study.read()
      assert study.module == ":market_sample"
      assert {"pick/1", 3} = hd(study.complex)
      assert study.circle == ["even/1", "odd/1"] and study.circle_size == 2
      # start, one, two, three, and the circle
      assert study.depth == 5
      assert study.unreached == ["forgotten/0"]
      assert Enum.sort(study.calls[":lists"]) == [map: 2, no_such_function: 1]
      assert "pick/1" in study.exports and study.functions == 8
    end

    test "count the same ways as McCabe does, and those of machine code where there are no forms" do
      {forms, binary} = compile(@sample)

      assert %{{:pick, 1} => 3, {:even, 1} => 2, {:three, 1} => 2, {:one, 0} => 1} =
               Map.new(Complexity.of_forms(forms))

      {:ok, {_module, stripped}} = :beam_lib.strip(binary)
      assert Map.new(Complexity.of_code(stripped))[{:pick, 1}] >= 3
      assert {:ok, %{functions: functions}} = stripped |> file() |> Study.read()
      assert functions >= 7
    end

    test "of what is no module say why there are none" do
      assert {:error, text} = "FOR1 and nothing else" |> file() |> Study.read()
      assert text =~ "beam"
      assert {:error, "no such file" <> _} = Study.read("/nowhere.beam")
    end
  end

  test "components come after those that they call, whatever the graph" do
    graph = %{a: [:b], b: [:c, :d], c: [:a], d: [:e], e: [:e], f: []}
    components = CallGraph.components(graph)
    assert Enum.map(components, &Enum.sort/1) == [[:e], [:d], [:a, :b, :c], [:f]]
    assert CallGraph.depth(components, graph) == 3
    assert CallGraph.reachable([:d], graph) == %{d: true, e: true}
  end

  defp facts(name, source, bytes, callees) do
    %{
      path: "/#{name}.beam",
      module: name,
      md5: name,
      application: "sample",
      source: source,
      file_bytes: bytes,
      callees: Enum.map(callees, &{&1, 1})
    }
  end

  describe "lots" do
    test "hold every module once, and modules of one kind" do
      facts =
        for n <- 1..200,
            do:
              facts("m#{n}", Enum.at(["elixir", "abstract_code", "code"], rem(n, 3)), 100 + n, [
                ":lists.map/2"
              ])

      lots = Lots.of(facts)
      paths = for lot <- lots, unit <- lot.units, do: unit.path
      assert Enum.sort(paths) == facts |> Enum.map(& &1.path) |> Enum.sort()
      assert Enum.uniq(Enum.map(lots, & &1.id)) == Enum.map(lots, & &1.id)
      assert Enum.all?(lots, &(&1.calls == [":lists"] and &1.fee == 10 * &1.bytes))
      assert lots |> Enum.map(& &1.kind) |> Enum.uniq() |> Enum.sort() == [:elixir, :erlang, :machine_code]
    end

    test "that were half done are worth what is left, at the fee that they had" do
      [lot] = Lots.of([facts("a", "elixir", 1_000, []), facts("b", "elixir", 3_000, [])]) |> merge()
      [_done | left] = lot.units
      assert %{bytes: 3_000, fee: 30_000} = Lots.rest(lot, left)
      assert %{fee: 45_001} = lot |> Lots.rest(left) |> Lots.dearer()
    end

    defp merge([one, two]), do: [%{one | units: one.units ++ two.units, bytes: 4_000, fee: one.fee + two.fee}]
  end

  describe "bids" do
    @able %{skills: [:erlang], wage: 1_000_000, speed: 1.0e6, lookup_us: 1_000.0}

    defp able(known), do: Map.put(@able, :known, &(&1 in known))

    defp lot(bytes, calls, kind \\ :erlang),
      do: %{application: "x", kind: kind, bytes: bytes, fee: bytes * 10, calls: calls}

    test "are the fees less time at the wage, within skill and balance" do
      lots = %{"a" => lot(1_000_000, []), "b" => lot(1_000_000, [], :elixir)}
      # A second's work, the first eighth of which is overtime's.
      assert Bids.offers(lots, able([]), 10 ** 9) == [{["a"], 10_000_000 - 1_125_000}]
      assert Bids.offers(lots, able([]), 500) == [{["a"], 500}]
      assert Bids.offers(lots, able([]), 0) == []
      assert Bids.offers(lots, %{able([]) | speed: 1.0e3}, 10 ** 9) == []
    end

    test "are higher together for lots that call the same, and for what is known already" do
      lots = %{"a" => lot(1_000, [":lists", ":maps"]), "b" => lot(1_000, [":maps", ":lists"])}
      offers = lots |> Bids.offers(able([]), 10 ** 9) |> Map.new()
      assert offers[["a", "b"]] > offers[["a"]] + offers[["b"]]
      known = lots |> Bids.offers(able([":lists", ":maps"]), 10 ** 9) |> Map.new()
      assert known[["a"]] > offers[["a"]]
    end
  end

  test "an agent measures itself, studies, looks up what is called, and votes for what stood out" do
    {_forms, binary} = compile(@sample)
    path = file(binary)
    profile = %{skills: [:erlang], hands: 2, wage: 1, reference: path}
    {:ok, agent} = Analyst.init(profile)
    assert agent.speed > 0
    lists = to_string(:code.which(:lists))

    unit = %{
      path: path,
      module: ":market_sample",
      md5: "",
      application: "x",
      bytes: byte_size(binary),
      calls: [":lists"]
    }

    {:ok, answer, agent} = Analyst.handle_task({:study, [unit], %{":lists" => lists}}, agent)
    assert [{^path, {:ok, %{undefined: [":lists.no_such_function/1"]} = study}}] = answer.studies
    refute is_map_key(study, :calls)

    ballot = %{
      options: Analyst.rankings(),
      data: %{means: %{complexity: 3, circles: 1, depth: 5, undefined: 0.25}}
    }

    assert {:vote, [:undefined, :circles, :complexity, :depth], _} = Analyst.handle_vote(ballot, agent)
    # What it has counted and measured outlives it, what it has looked up does not.
    {:ok, again} = agent |> Analyst.snapshot() |> Analyst.restore(profile)
    assert again == %{agent | known: %{}}
    {:ok, fresh} = Analyst.init(profile)
    assert {:abstain, _} = Analyst.handle_vote(ballot, fresh)
    assert {:error, {:reference, _, _}} = Analyst.init(%{profile | reference: "/nowhere"})
  end

  test "findings are of all modules, and exports count as used when another module names them" do
    {_forms, binary} = compile(@sample)
    path = file(binary)
    {:ok, study} = Study.read(path)
    {:ok, facts} = BeamFacts.read(path)
    facts = Map.merge(facts, %{path: path, application: "x"})
    other = facts("other", "elixir", 1, [":market_sample.start/0"])
    study = study |> Map.delete(:calls) |> Map.merge(%{path: path, undefined: [":lists.no_such_function/1"]})
    findings = Findings.of([facts, other], %{path => %{data: study}})
    assert [{":market_sample.pick/1", 3, "3 ways"} | _] = findings.complexity
    assert [{":market_sample: even/1, odd/1", 2, "2 functions"}] = findings.circles
    assert [{":lists.no_such_function/1", 1, _}] = findings.undefined

    # start/0 is called by the other; module_info is the compiler's.
    assert [{":market_sample", 2, "2 of 3"}] = findings.unused
    assert [{":market_sample.forgotten/0", 1, ""}] = findings.unreached
  end
end
