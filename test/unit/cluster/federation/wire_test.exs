defmodule Foundation.Cluster.Federation.WireTest do
  use ExUnit.Case, async: true

  alias Foundation.Cluster.Federation.{Pem, Wire}

  test "a request says which function before anything is decoded" do
    assert {:ok, request} = Wire.request({Enum, :sum, [[1, 2]]})
    assert {:ok, {"Elixir.Enum", "sum", 1}, args} = Wire.parse(request)
    assert Wire.decode(args) == {:ok, [[[1, 2]]] |> hd()}
  end

  test "plain data crosses, everything else does not" do
    for term <- [nil, 1, 1.5, -(2 ** 200), "text", <<1::3>>, [], [1, [2]], {}, {:a, "b"}, %{a: %{1 => [%{}]}}] do
      assert Wire.plain?(term)
      assert {:ok, ^term} = Wire.decode(Wire.encode(term))
    end

    for term <- [
          self(),
          make_ref(),
          fn -> 1 end,
          &Enum.sum/1,
          [1 | 2],
          {1, [self()]},
          %{a: self()},
          %{self() => 1}
        ] do
      refute Wire.plain?(term)
      assert Wire.decode(Wire.encode(term)) == :error
      assert Wire.request({Enum, :sum, [term]}) == {:error, :not_plain}
    end
  end

  test "bytes that are compressed, cut, longer, or name a new atom are refused" do
    compressed = :erlang.term_to_binary(String.duplicate("a", 100_000), [:compressed])
    new_atom = <<131, 119, 24, "never_seen_before_#{System.unique_integer([:positive])}"::binary>>
    good = Wire.encode([1, 2, 3])

    for bytes <- [compressed, new_atom, good <> "x", binary_part(good, 0, 4), "", <<131>>, "noise"] do
      assert Wire.decode(bytes) == :error
    end
  end

  test "any bytes parse or do not" do
    :rand.seed(:exsss, {1, 2, 3})

    for _ <- 1..2_000 do
      bytes = :rand.bytes(:rand.uniform(40))
      for input <- [bytes, <<1>> <> bytes, <<1, 0, 2, "ab", 0, 1, "c">> <> bytes], do: parse_and_decode(input)
    end
  end

  defp parse_and_decode(bytes) do
    with {:ok, {_, _, _}, args} <- Wire.parse(bytes), do: Wire.decode(args)
  end

  test "deep nesting is walked, not recursed into the ground" do
    deep = Enum.reduce(1..200_000, [], fn _, deep -> [deep] end)
    assert {:ok, ^deep} = Wire.decode(Wire.encode(deep))
  end

  test "certificates come back from their text" do
    certificates = for size <- [1, 47, 48, 49, 500], do: :crypto.strong_rand_bytes(size)
    text = Pem.encode(certificates)
    assert text |> String.split("\n") |> Enum.all?(&(byte_size(&1) <= 64))
    assert Pem.decode("some words\n" <> text <> "more\n") == {:ok, certificates}

    [{:Certificate, der, :not_encrypted} | _] = :public_key.pem_decode(text)
    assert der == hd(certificates)
    assert Pem.decode("nothing") == :error
  end
end
