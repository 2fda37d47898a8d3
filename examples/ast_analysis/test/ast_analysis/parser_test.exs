defmodule AstAnalysis.ParserTest do
  # The compiler's options are those of the VM.
  use ExUnit.Case, async: false

  alias AstAnalysis.Parser

  @moduletag :tmp_dir

  setup do
    before = Code.get_compiler_option(:debug_info)
    Code.put_compiler_option(:debug_info, true)
    on_exit(fn -> Code.put_compiler_option(:debug_info, before) end)
  end

  defp parse(source, directory) do
    [{module, binary}] = Code.compile_string(source)
    path = Path.join(directory, "#{module}.beam")
    File.write!(path, binary)
    {:ok, facts} = Parser.read(path)
    Map.new(facts.functions, fn %{mfa: {_module, name, arity}} = function -> {{name, arity}, function} end)
  end

  test "finds functions, clauses and branches with their lines", %{tmp_dir: directory} do
    functions =
      parse(
        """
        defmodule AstAnalysis.ParserTest.Shop do
          def price(:tea), do: 3

          def price(other) do
            case other do
              :coffee -> 4
              _ -> price(:tea)
            end
          end
        end
        """,
        directory
      )

    assert functions[{:price, 1}].points ==
             [
               function: 2,
               clause: 2,
               clause: 4
             ] ++ [{{:branch, :case}, 6}, {{:branch, :case}, 7}]

    # Two clauses, and two branches in one of them.
    assert functions[{:price, 1}].complexity == 3
    assert functions[{:price, 1}].calls == [{{AstAnalysis.ParserTest.Shop, :price, 1}, 7}]
  end

  test "knows calls of other modules, of imported functions, and functions that are passed on", %{
    tmp_dir: directory
  } do
    functions =
      parse(
        """
        defmodule AstAnalysis.ParserTest.Caller do
          import String, only: [upcase: 1]
          def run(list), do: Enum.map(list, &upcase/1)
          def own(list), do: Enum.each(list, &local/1)
          defp local(x) when is_integer(x) and x > 0, do: x
        end
        """,
        directory
      )

    assert [{{Enum, :map, 2}, 3}, {{String, :upcase, 1}, 3}] = Enum.sort(functions[{:run, 1}].calls)
    assert {{AstAnalysis.ParserTest.Caller, :local, 1}, 4} in functions[{:own, 1}].calls
  end

  test "reads Erlang's abstract code", %{tmp_dir: directory} do
    forms = [
      {:attribute, 1, :module, :ast_analysis_erlang},
      {:attribute, 2, :export, [f: 1]},
      {:function, 3, :f, 1,
       [
         {:clause, 3, [{:var, 3, :X}], [],
          [{:call, 4, {:remote, 4, {:atom, 4, :lists}, {:atom, 4, :reverse}}, [{:var, 4, :X}]}]}
       ]}
    ]

    {:ok, module, binary} = :compile.forms(forms, [:debug_info])
    path = Path.join(directory, "#{module}.beam")
    File.write!(path, binary)

    assert {:ok, %{functions: [function]}} = Parser.read(path)

    assert function == %{
             mfa: {:ast_analysis_erlang, :f, 1},
             line: 3,
             complexity: 1,
             points: [function: 3, clause: 3],
             calls: [{{:lists, :reverse, 1}, 4}]
           }

    {:ok, ^module, without} = :compile.forms(forms, [])
    File.write!(path, without)
    assert Parser.read(path) == {:error, :no_debug_info}
    File.write!(path, "no BEAM file")
    assert Parser.read(path) == {:error, :unreadable}
  end
end
