defmodule Foundation.ErlangTest do
  # The foundation module of Erlang: its EUnit tests, and that nothing it calls is missing.
  use ExUnit.Case, async: false

  @tests "test/erlang/foundation_tests.erl"

  test "the EUnit tests pass" do
    assert {:ok, :foundation_tests, beam, []} =
             :compile.file(String.to_charlist(@tests), [
               :binary,
               :return_errors,
               :return_warnings,
               :nowarn_export_all
             ])

    {:module, _} = :code.load_binary(:foundation_tests, String.to_charlist(@tests), beam)

    on_exit(fn ->
      :code.purge(:foundation_tests)
      :code.delete(:foundation_tests)
    end)

    report = ExUnit.CaptureIO.capture_io(fn -> send(self(), {:eunit, :eunit.test(:foundation_tests)}) end)
    assert_received {:eunit, result}
    assert result == :ok, report
  end

  test "every function that it calls exists, and every exported one is specified" do
    {:module, :foundation} = Code.ensure_loaded(:foundation)
    called = Mix.Tasks.ValidateArchitecture.calls(:foundation)

    for {module, name, arity} <- called do
      assert {:module, ^module} = Code.ensure_loaded(module)
      exists? = function_exported?(module, name, arity) or :erlang.is_builtin(module, name, arity)
      assert exists?, "#{inspect(module)}.#{name}/#{arity} does not exist"
    end

    assert length(called) > 40
    {:ok, specs} = Code.Typespec.fetch_specs(:foundation)
    specified = Enum.map(specs, &elem(&1, 0))
    assert (:foundation.module_info(:exports) -- specified) |> Keyword.keys() |> Enum.uniq() == [:module_info]
  end

  test "the Elixir modules can be called as they are" do
    assert :erlang.apply(:"Elixir.Foundation.Config", :get, [[:ai, :provider]]) == {:ok, :mock}
  end
end
