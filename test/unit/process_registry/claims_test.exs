defmodule Foundation.ProcessRegistry.ClaimsTest do
  use ExUnit.Case, async: true
  alias Foundation.ProcessRegistry.Global.Claims

  # A process of another node, as the external term format has it.
  defp claim(stamp, node, token \\ nil) do
    name = Atom.to_string(node)
    pid = :erlang.binary_to_term(<<131, 88, 119, byte_size(name), name::binary, 1::32, 0::32, 1::32>>)
    {pid, nil, stamp, token}
  end

  test "the older one counts, of the same age that of the first node, before them a token, of tokens the greatest" do
    older = claim(1, :b@h)
    newer = claim(2, :a@h)
    assert Claims.winner([newer, older]) == {older, [newer]}
    assert Claims.winner([older]) == {older, []}
    same = claim(1, :a@h)
    assert Claims.winner([older, same]) == {same, [older]}
    leased = claim(9, :c@h, 5)
    assert Claims.winner([older, leased]) == {leased, [older]}
    later = claim(8, :d@h, 6)
    assert {^later, [^leased, ^older]} = Claims.winner([older, leased, later])
    assert Claims.open?(older, newer)
    refute Claims.open?(leased, older)
  end

  test "every order of the same claims gives the same" do
    claims = [claim(1, :a@h), claim(1, :b@h), claim(0, :c@h), claim(5, :d@h, 1), claim(4, :e@h, 2)]
    answers = for _ <- 1..50, uniq: true, do: Claims.winner(Enum.shuffle(claims))
    assert length(answers) == 1
  end
end
