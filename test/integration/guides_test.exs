defmodule Foundation.GuidesTest do
  # Runs the code of the guides: every block is evaluated, with the bindings of those before it.
  use ExUnit.Case, async: false

  # What a guide registers goes with the application.
  setup do
    on_exit(fn ->
      Application.stop(:foundation)
      {:ok, _} = Application.ensure_all_started(:foundation)
    end)
  end

  for guide <- ~w(README guides/getting_started guides/migrating_from_1x) do
    test "the Elixir of #{guide}.md runs" do
      path = "#{unquote(guide)}.md"
      blocks = blocks(path, "elixir")
      assert blocks != []

      ExUnit.CaptureIO.capture_io(fn -> run(blocks, path) end)
    end
  end

  test "the Erlang of guides/getting_started.md runs" do
    for {_line, code} <- blocks("guides/getting_started.md", "erlang") do
      {:ok, tokens, _} = code |> String.to_charlist() |> :erl_scan.string()
      {:ok, expressions} = :erl_parse.parse_exprs(tokens)
      assert {:value, {:ok, 42}, _} = :erl_eval.exprs(expressions, [])
    end
  end

  defp run(blocks, path) do
    Enum.reduce(blocks, {[], __ENV__}, fn {line, code}, {bindings, env} ->
      {_, bindings, env} =
        Code.eval_quoted_with_env(Code.string_to_quoted!(code, file: path, line: line), bindings, env)

      {bindings, env}
    end)
  end

  # {first line, code} of each block of that language.
  defp blocks(path, language) do
    path
    |> File.read!()
    |> String.split("\n")
    |> Enum.with_index(1)
    |> Enum.reduce({[], nil}, fn
      {"```" <> ^language, line}, {blocks, nil} ->
        {blocks, {line + 1, []}}

      {"```", _}, {blocks, {line, lines}} ->
        {[{line, lines |> Enum.reverse() |> Enum.join("\n")} | blocks], nil}

      {text, _}, {blocks, {line, lines}} ->
        {blocks, {line, [text | lines]}}

      {_, _}, state ->
        state
    end)
    |> then(fn {blocks, nil} -> Enum.reverse(blocks) end)
  end
end
