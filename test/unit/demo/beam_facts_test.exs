defmodule Foundation.Demo.BeamFactsTest do
  use ExUnit.Case, async: true

  alias Foundation.Demo.BeamFacts

  @erlang [
    {:attribute, 1, :module, :facts_sample},
    {:attribute, 2, :behaviour, :gen_server},
    {:attribute, 3, :export, [run: 1, fold: 2]},
    {:attribute, 4, :import, {:lists, [reverse: 1]}}
  ]

  defp call(module, name, arguments),
    do: {:call, 9, {:remote, 9, {:atom, 9, module}, {:atom, 9, name}}, arguments}

  defp local(name, arguments), do: {:call, 9, {:atom, 9, name}, arguments}

  defp function(name, arity, body),
    do: {:function, 9, name, arity, [{:clause, 9, variables(arity), [], body}]}

  defp variables(arity), do: for(n <- Enum.take([1, 2], arity), do: {:var, 9, :"V#{n}"})

  defp sample(options) do
    x = {:var, 9, :V1}

    forms =
      @erlang ++
        [
          function(:run, 1, [
            call(:lists, :map, [{:fun, 9, {:function, :helper, 1}}, x]),
            call(:lists, :map, [
              {:fun, 9, {:function, {:atom, 9, :maps}, {:atom, 9, :size}, {:integer, 9, 1}}},
              x
            ]),
            local(:reverse, [local(:helper, [x])]),
            local(:length, [x])
          ]),
          function(:fold, 2, [{:call, 9, {:var, 9, :V1}, [{:var, 9, :V2}]}, local(:helper, [x])]),
          function(:helper, 1, [x])
        ]

    {:ok, :facts_sample, binary} = :compile.forms(forms, options)
    binary
  end

  test "abstract code tells every call, where it is and to whom" do
    assert {:ok, facts} = BeamFacts.parse(sample([:debug_info]))
    assert %{module: ":facts_sample", source: "abstract_code", functions: 3} = facts
    # module_info/0 and /1 are exported too
    assert facts.exports == 4
    assert facts.attributes == [":gen_server"]

    assert Map.new(facts.callees) == %{
             ":lists.map/2" => 2,
             ":lists.reverse/1" => 1,
             ":maps.size/1" => 1,
             ":erlang.length/1" => 1
           }

    assert facts.remote_calls == 5
    assert facts.local_calls == 3
    assert facts.dynamic_calls == 1
    assert hd(facts.callers) == {"run/1", 7}
    assert {"fold/2", 1} in facts.callers
  end

  test "without a debug chunk the code chunk tells" do
    assert {:ok, facts} = BeamFacts.parse(sample([]))
    assert facts.source == "code"
    callees = Map.new(facts.callees)
    assert callees[":lists.map/2"] == 2
    assert callees[":lists.reverse/1"] == 1
    assert facts.exports == 4
    assert facts.functions == 5
  end

  test "a stripped module has the same digest, and no attributes" do
    binary = sample([:debug_info])
    {:ok, {_module, stripped}} = :beam_lib.strip(binary)
    assert {:ok, whole} = BeamFacts.parse(binary)
    assert {:ok, facts} = BeamFacts.parse(stripped)
    assert facts.md5 == whole.md5
    assert facts.code_bytes == whole.code_bytes
    assert facts.attributes == []
  end

  test "Elixir modules are read from their own debug chunk" do
    assert {:ok, facts} = BeamFacts.read(:code.which(Enum) |> to_string())
    assert %{module: "Enum", source: "elixir"} = facts
    assert facts.exports == length(Enum.module_info(:exports))
    assert {_, count} = List.keyfind(facts.callees, ":lists.reverse/1", 0)
    assert count > 10
  end

  test "facts hold no atoms but their keys, so that they are readable where the module is unknown" do
    assert {:ok, facts} = BeamFacts.parse(sample([:debug_info]))

    for {_key, value} <- facts do
      assert is_binary(value) or is_integer(value) or is_list(value)
    end
  end

  test "what is no BEAM file is an error that says so" do
    assert {:error, "not_a_beam_file"} = BeamFacts.parse("not a beam file at all")
    assert {:error, reason} = BeamFacts.parse(binary_part(sample([]), 0, 60))
    assert is_binary(reason) and reason != ""
    assert {:error, "no such file or directory"} = BeamFacts.read("/nowhere/at/all.beam")
  end

  test "a damaged BEAM file is an error or facts, never a crash of the pool's worker" do
    binary = sample([:debug_info])
    {:ok, worker} = Foundation.Demo.Parser.start_link([])
    path = Path.join(System.tmp_dir!(), "facts_#{System.unique_integer([:positive])}.beam")
    on_exit(fn -> File.rm(path) end)

    for position <- 0..(byte_size(binary) - 1)//7 do
      {before, <<byte, rest::binary>>} = :erlang.split_binary(binary, position)
      File.write!(path, <<before::binary, Bitwise.bxor(byte, 0x55), rest::binary>>)
      assert {{outcome, _}, took} = Foundation.Demo.Parser.facts(worker, path, 5_000)
      assert outcome in [:ok, :error] and is_integer(took)
    end
  end
end
