defmodule LlmEvaluation.JSONTest do
  use ExUnit.Case, async: true

  alias LlmEvaluation.JSON

  defp again(value), do: value |> JSON.encode() |> IO.iodata_to_binary() |> JSON.decode()

  test "what was written is read" do
    for value <- [nil, true, 0, -12, 1.5, "", "a \"b\"\n\\ é 𝄞", [], [1, [2]], %{}, %{"a" => [%{"b" => nil}]}] do
      assert again(value) == {:ok, value}
    end

    assert again(%{role: :user}) == {:ok, %{"role" => "user"}}
  end

  test "what others write is read" do
    assert JSON.decode(~s( { "a" : [ 1.5e3 , "\\u00e9\\ud834\\udd1e\\t" ] } )) ==
             {:ok, %{"a" => [1500.0, "é𝄞\t"]}}
  end

  test "what is not JSON is none" do
    for text <- [
          "",
          "{",
          "[1,",
          "01",
          "\"a",
          "nul",
          "{\"a\" 1}",
          "[1] 2",
          "\"\\x\"",
          "\"\\ud834\"",
          "1.",
          "[1e]"
        ] do
      assert JSON.decode(text) == :error
    end
  end
end
