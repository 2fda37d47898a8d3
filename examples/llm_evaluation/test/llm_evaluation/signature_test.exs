defmodule LlmEvaluation.SignatureTest do
  use ExUnit.Case, async: true

  alias LlmEvaluation.Signature

  doctest Signature

  test "asks for the outputs and misses those that are not there" do
    signature = Signature.new("question, context -> answer, reason", "Be brief.")
    [system, user] = Signature.messages(signature, %{"question" => "Why?", "context" => "None."})
    assert system.content == "Given `question`, `context`, write `answer`, `reason`. Be brief."
    assert user.content == "Question: Why?\nContext: None."
    assert Signature.read(signature, "Answer: so\nor so") == {:error, {:missing, ["reason"]}}
  end
end
