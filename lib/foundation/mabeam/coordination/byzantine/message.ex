defmodule Foundation.MABEAM.Coordination.Byzantine.Message do
  @moduledoc false
  # What agents send each other: {voter, option, [{signer, signature}]}, the voter first. Each signature covers the nonce, the
  # voter, the option and the signatures before it. Here is what is well formed, and what is signed.

  @doc "Signs an option of a voter, after those who have signed it."
  def sign(ballot, voter, option, chain, id, private) do
    {id, :crypto.sign(:eddsa, :none, covered(ballot, voter, option, chain), [private, :ed25519])}
  end

  def signed?(ballot, voter, option, chain, {signer, signature}) do
    case ballot.keys do
      %{^signer => <<_::binary-size(32)>> = public} ->
        :crypto.verify(:eddsa, :none, covered(ballot, voter, option, chain), signature, [public, :ed25519])

      _ ->
        false
    end
  end

  @doc "Whether every signature of a message is what it says."
  def valid?(ballot, {voter, option, chain}) do
    {_before, valid?} =
      Enum.reduce(chain, {[], true}, fn link, {before, valid?} ->
        {before ++ [link], valid? and signed?(ballot, voter, option, before, link)}
      end)

    valid?
  end

  def sign_finding(ballot, finding, private),
    do: {:found, finding, :crypto.sign(:eddsa, :none, covered(ballot, finding), [private, :ed25519])}

  @doc "Whether it is what that agent found: options of voters, signed."
  def finding?({:found, %{votes: votes, equivocated: equivocated} = finding, signature}, id, ballot)
      when map_size(finding) == 2 and is_map(votes) and is_list(equivocated) and is_binary(signature) do
    Enum.all?(votes, fn {voter, option} -> voter?(voter, ballot) and option?(option, ballot) end) and
      not List.improper?(equivocated) and Enum.all?(equivocated, &voter?(&1, ballot)) and
      byte_size(signature) == 64 and
      :crypto.verify(:eddsa, :none, covered(ballot, finding), signature, [ballot.keys[id], :ed25519])
  end

  def finding?(_other, _id, _ballot), do: false

  @doc """
  The messages of an answer, each with whom it is for: `{:all, messages}`, or `{:each, %{agent => messages}}`; false when it is neither, or
  too much.
  """
  def letters({:all, messages}, ballot, round) do
    messages?(messages, ballot, round) && for(to <- ballot.voters, message <- messages, do: {to, message})
  end

  def letters({:each, %{} = each}, ballot, round) when not is_struct(each) do
    Enum.all?(each, fn {to, messages} -> voter?(to, ballot) and messages?(messages, ballot, round) end) &&
      for {to, messages} <- each, message <- messages, do: {to, message}
  end

  def letters(_other, _ballot, _round), do: false

  defp messages?(messages, ballot, round) do
    is_list(messages) and not List.improper?(messages) and length(messages) <= 2 * length(ballot.voters) and
      Enum.all?(messages, &formed?(&1, ballot, round))
  end

  @doc "Whether a message of a round has as many different signers as it must, the voter first."
  def formed?({voter, option, [{voter, _} | _] = chain}, ballot, round) do
    option?(option, ballot) and not List.improper?(chain) and length(chain) == round and
      Enum.all?(chain, &match?({_signer, <<_::binary-size(64)>>}, &1)) and
      signers?(Enum.map(chain, &elem(&1, 0)), ballot)
  end

  def formed?(_other, _ballot, _round), do: false

  defp signers?(signers, ballot),
    do: Enum.uniq(signers) == signers and Enum.all?(signers, &voter?(&1, ballot))

  defp voter?(id, ballot), do: is_map_key(ballot.keys, id)
  defp option?(option, ballot), do: Enum.any?(ballot.options, &(&1 === option))

  # The options are part of it, so that what is signed for one ballot says nothing on another.
  defp covered(ballot, voter, option, chain),
    do: digest({:mabeam_vote, ballot.nonce, ballot.options, voter, option, chain})

  defp covered(ballot, finding), do: digest({:mabeam_found, ballot.nonce, ballot.options, finding})

  defp digest(term),
    do: :crypto.hash(:sha256, :erlang.term_to_binary(term, [:deterministic, minor_version: 2]))
end
