defmodule Foundation.Cluster.JsonTest do
  use ExUnit.Case, async: true

  alias Foundation.Cluster.Strategy.Json
  alias Foundation.Infrastructure.PoolWorkers.Json, as: Writer

  test "reads what RFC 8259 allows" do
    for {text, value} <- [
          {~s( {"a" : [1, -2.5, 1e3, 1E-2, 0, true, false, null], "a" : {}} ), %{"a" => %{}}},
          {~s([[], {}, "", "\\u00e9\\ud83d\\ude00\\/\\n"]), [[], %{}, "", "é😀/\n"]},
          {"0.5", 0.5},
          {"-0", 0},
          {"12345678901234567890123456789", 12_345_678_901_234_567_890_123_456_789},
          {~s("\u{7f}"), "\u{7f}"}
        ],
        do: assert(Json.decode(text) == {:ok, value}, text)
  end

  test "refuses what it does not" do
    for text <- [
          "",
          " ",
          "nul",
          "tru",
          "[1,]",
          "[1 2]",
          "[",
          "{",
          "{\"a\"}",
          "{\"a\":}",
          "{a:1}",
          "{\"a\":1,}",
          "01",
          "1.",
          ".5",
          "+1",
          "1e",
          "--1",
          "\"",
          "\"\\x\"",
          "\"\\u12\"",
          "\"\\ud800\"",
          "\"\\ud800\\u0041\"",
          "\"\\udc00\"",
          "\"\n\"",
          "NaN",
          "Infinity",
          "1e999",
          "[1]x",
          "'a'",
          <<?", 255, ?">>,
          String.duplicate("[", 100_000),
          String.duplicate("9", 10_000),
          "\uFEFF{}"
        ],
        do: assert(Json.decode(text) == {:error, :not_json}, inspect(text, limit: 20))

    nested = fn depth -> String.duplicate("[", depth) <> String.duplicate("]", depth) end
    assert {:ok, _} = Json.decode(nested.(64))
    assert {:error, :not_json} = Json.decode(nested.(65))
  end

  test "reads back what was written, and no cut of it" do
    value = %{
      "items" => [%{"ip" => "10.0.0.1", "n" => 1, "x" => nil}, "quote \" back \\ line \n é"],
      "ok" => true
    }

    {:ok, text} = Writer.encode(value)
    text = IO.iodata_to_binary(text)
    assert Json.decode(text) == {:ok, value}
    for n <- 0..(byte_size(text) - 1), do: assert({:error, :not_json} = Json.decode(binary_part(text, 0, n)))
  end
end
