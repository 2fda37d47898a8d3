defmodule Foundation.MABEAM.Coordination.Byzantine.Peer do
  @moduledoc false
  # An honest agent in the protocol of Dolev and Strong: what it has seen of each voter, at most two options, and what it passes
  # on. Nothing that it is sent makes it raise.

  alias Foundation.MABEAM.Coordination.Byzantine.Message

  @runs 16

  @spec respond(map, map, (map -> term)) :: {term, map}
  def respond(%{nonce: nonce, keys: %{}, faulty: faulty, options: [_ | _] = options} = ballot, peer, choose)
      when is_integer(faulty) do
    if List.improper?(options), do: {{:all, []}, peer}, else: respond(ballot, peer, choose, peer.runs[nonce])
  end

  def respond(_ballot, peer, _choose), do: {{:all, []}, peer}

  defp respond(%{round: 1, nonce: nonce, keys: keys} = ballot, %{id: id} = peer, choose, nil)
       when is_map_key(keys, id) do
    option = choose.(Map.take(ballot, [:question, :options, :data]))
    message = {id, option, [Message.sign(ballot, id, option, [], id, peer.private)]}
    {{:all, [message]}, keep(peer, nonce, %{at: System.monotonic_time(), round: 1, seen: %{id => [option]}})}
  end

  defp respond(%{round: round, messages: messages} = ballot, peer, _choose, %{round: before} = run)
       when round == before + 1 and is_list(messages) do
    if List.improper?(messages), do: {{:all, []}, peer}, else: next(ballot, peer, %{run | round: round})
  end

  # A ballot in the middle of a vote whose beginning it has not seen, or one that it has answered.
  defp respond(_ballot, peer, _choose, _run), do: {{:all, []}, peer}

  # What arrives in round r was sent in round r - 1, and has so many signatures.
  defp next(%{nonce: nonce, round: round, faulty: faulty} = ballot, peer, run) do
    {fresh, seen} = Enum.reduce(ballot.messages, {[], run.seen}, &take(&1, &2, ballot, round - 1, peer.id))

    if round == faulty + 2 do
      {Message.sign_finding(ballot, finding(seen), peer.private),
       %{peer | runs: Map.delete(peer.runs, nonce)}}
    else
      onward =
        for {voter, option, chain} <- Enum.reverse(fresh),
            do: {voter, option, chain ++ [Message.sign(ballot, voter, option, chain, peer.id, peer.private)]}

      {{:all, onward}, keep(peer, nonce, %{run | seen: seen})}
    end
  end

  # Two options of a voter are enough to know it for what it is.
  defp take(message, {fresh, seen}, ballot, round, id) do
    with true <- Message.formed?(message, ballot, round),
         {voter, option, chain} = message,
         known = Map.get(seen, voter, []),
         true <- length(known) < 2 and option not in known and not List.keymember?(chain, id, 0),
         true <- Message.valid?(ballot, message) do
      {[message | fresh], Map.put(seen, voter, [option | known])}
    else
      _ -> {fresh, seen}
    end
  end

  defp finding(seen) do
    %{
      votes: for({voter, [option]} <- seen, into: %{}, do: {voter, option}),
      equivocated: for({voter, [_, _]} <- seen, do: voter) |> Enum.sort()
    }
  end

  defp keep(peer, nonce, run) do
    runs = Map.put(peer.runs, nonce, run)

    if map_size(runs) > @runs do
      {oldest, _} = Enum.min_by(runs, fn {_, run} -> run.at end)
      %{peer | runs: Map.delete(runs, oldest)}
    else
      %{peer | runs: runs}
    end
  end
end
