defmodule Foundation.ExamplesTest do
  # The projects below examples/, as somebody who has just cloned the repository would run them.
  use ExUnit.Case, async: false

  @moduletag :slow
  @moduletag timeout: 300_000

  @root File.cwd!()
  @library Path.join(@root, "priv/native/foundation_nif.so")
  @needed ~w(lib examples mix.exs .formatter.exs)
  @built ~w(_build deps tmp _evaluation)

  # Foundation is compiled once for both.
  setup_all do
    directory = Path.join(@root, "_build/examples_test")
    File.rm_rf!(directory)
    checkout = Path.join(directory, "checkout")
    for name <- @needed, do: copy(Path.join(@root, name), Path.join(checkout, name))
    File.mkdir_p!(Path.join(checkout, "priv"))
    on_exit(fn -> File.rm_rf!(directory) end)
    example = Path.join(checkout, "examples/ast_analysis")
    assert {output, 0} = mix(example, ["deps.compile"], [])
    assert output =~ "Generated foundation app"
    %{examples: Path.join(checkout, "examples")}
  end

  setup %{examples: examples, test: test} do
    name = if Atom.to_string(test) =~ "AST", do: "ast_analysis", else: "llm_evaluation"
    project = Path.join(examples, name)
    assert {output, 0} = mix(project, ["compile", "--warnings-as-errors"], [])
    refute output =~ "warning"
    assert {_, 0} = mix(project, ["format", "--check-formatted"], [])
    %{project: project}
  end

  test "AST analysis: its tests", %{project: project} do
    assert {output, 0} = mix(project, ["test"], [])
    assert output =~ ~r/[1-9]\d* tests, 0 failures/
  end

  test "AST analysis: a node is lost, and nothing with it", %{project: project} do
    assert {output, 0} = mix(project, ~w(run run.exs --apps eex,logger,ex_unit --analysts 6), [])
    assert output =~ ~r/was killed after \d+ modules, with analyst-\d/

    assert [["0", "0"], ["0", "0"]] =
             Regex.scan(~r/lost: (\d+), doubled: (\d+)/, output, capture: :all_but_first)

    assert output =~ ~r/Before the change\n  who calls Till.total\/1: none/
    assert output =~ "Analysed again: AstAnalysis.Sample.Till; added: none; removed: none"
    assert output =~ "instrument AstAnalysis.Sample.Till.discounted/2 at function line"
    [_, after_change] = String.split(output, "After the change")
    assert after_change =~ "who calls Till.total/1: AstAnalysis.Sample.Till.discounted/2"
  end

  test "LLM evaluation: its tests", %{project: project} do
    assert {output, 0} = mix(project, ["test"], [{"EVALUATION_DIR", Path.join(project, "_evaluation/test")}])
    assert output =~ ~r/[1-9]\d* tests?, 0 failures/
  end

  test "LLM evaluation: spent, resumed, and one result an item", %{project: project} do
    environment = [{"EVALUATION_DIR", Path.join(project, "_evaluation/run")}]

    assert {first, 0} = mix(project, ~w(run run.exs --items 500 --budget 0.015), environment)
    assert [_, done] = Regex.run(~r/^(\d+) of 500 items have a result/m, first)
    assert String.to_integer(done) in 50..400
    assert first =~ ~r/\d+ without: the budget is spent/
    assert first =~ "the ledger balances"

    assert {second, 0} = mix(project, ~w(run run.exs --items 500 --budget 5), environment)
    assert second =~ "500 of 500 items have a result, 500 of them different"
    assert second =~ "#{done} from earlier runs, #{500 - String.to_integer(done)} in this one"
    assert second =~ "limits learnt: 150 requests and 15000 tokens a second"
    assert second =~ "the ledger balances"

    # Nothing is left to do.
    assert {third, 0} = mix(project, ~w(run run.exs --items 500 --budget 5), environment)
    assert third =~ "500 from earlier runs, 0 in this one"
  end

  # Without what somebody has built there.
  defp copy(from, to) do
    if File.dir?(from) do
      File.mkdir_p!(to)
      for name <- File.ls!(from) -- @built, do: copy(Path.join(from, name), Path.join(to, name))
    else
      File.mkdir_p!(Path.dirname(to))
      File.cp!(from, to)
    end
  end

  defp mix(project, arguments, environment) do
    clean = [
      {"MIX_ENV", "test"},
      {"MIX_BUILD_PATH", project |> Path.join("../../_own_build") |> Path.expand()},
      {"MIX_BUILD_ROOT", nil},
      {"MIX_DEPS_PATH", nil},
      {"MIX_EXS", nil},
      {"FOUNDATION_NIF_PATH", @library},
      {"FOUNDATION_NO_HEX", "1"},
      {"NO_COLOR", "1"}
    ]

    mix = System.find_executable("mix")
    System.cmd(mix, arguments, cd: project, env: clean ++ environment, stderr_to_stdout: true)
  end
end
