defmodule Foundation.MABEAM.Coordination.Byzantine do
  @moduledoc """
  Decides by most votes although some agents tell different things to different others, with signatures: the protocol
  `:byzantine`.

      keys = Map.new(agents, fn id -> {id, Byzantine.generate_key()} end)   # each agent keeps its own private one
      problem = %{options: [:a, :b], faulty: 1, keys: Map.new(keys, fn {id, {public, _}} -> {id, public} end)}
      Coordination.coordinate(:byzantine, agents, problem)

      # in an agent:
      def handle_vote(ballot, state) do
        {answer, peer} = Byzantine.respond(ballot, state.peer, fn ballot -> choose(ballot) end)
        {:vote, answer, %{state | peer: peer}}
      end

  The problem is a map: `options:`, `question:`, `data:`; `faulty:` f, how many may be faulty in any way, of at least 3f + 1 agents (at most 100); `keys:`, a map
  from each agent to its public Ed25519 key; `nonce:` 16 bytes that no other vote has (drawn when it is left out).

  Each agent broadcasts its vote by the protocol of Dolev and Strong: it signs it; who sees a vote with k different signatures in round
  k, the voter's first, adds its own and passes it on. After f + 1 rounds every honest agent has of every voter the same: one
  vote, or two, which only a faulty one can have signed, or none. Each then counts for itself the voters with one vote, and signs
  what it found. The session carries the messages, and could only keep some back; it cannot forge any.

  Decision: the option with the most votes (of equals the first in the list), if n - f agents found the same; `confidence` is the share of the
  agents that did. `detail`: `:votes`, what each agent voted, `:equivocated`, who signed two votes, with both as proof: `%{agent => [{option, signature}]}`,
  `:silent`, who signed none that was valid, `:dissent`, who found something else. Fails with `:no_agreement` and `:no_votes`. Rounds: f + 2.

  Properties: with at most f faulty agents the honest ones agree and so does the session's decision; every honest agent that answers in
  time has its vote counted. 2n messages a round, each with at most 2n votes. What the winner is, f of 3f + 1 can still
  sway where the honest are divided. Sources: Dolev and Strong, Authenticated Algorithms for Byzantine Agreement, SIAM Journal on Computing 12, 1983; Lamport, Shostak and Pease,
  The Byzantine Generals Problem, 1982.

  Who fails to answer a round in time counts as faulty and is not asked again; give `round_timeout:` a (f + 2)th of `timeout:` where f
  agents may stall a round each. Agents that do not know the protocol are silent ones. `respond/3` is all that an honest agent does.

  **Scheduling**: no function here calls the native library; signatures are made and checked by `:crypto`, some 100 µs each, about 2n an agent.
  """

  use Foundation.MABEAM.Protocol

  alias Foundation.MABEAM.Coordination.Ballot
  alias Foundation.MABEAM.Coordination.Byzantine.{Message, Peer}
  alias Foundation.MABEAM.Types.Fields

  @most 100

  @type peer :: %{id: Foundation.MABEAM.Types.agent_id(), private: binary, runs: map}

  @doc "A new pair of Ed25519 keys, `{public, private}`. O(1)."
  @spec generate_key() :: {binary, binary}
  def generate_key, do: :crypto.generate_key(:eddsa, :ed25519)

  @doc "What an agent keeps between the rounds of votes, with its private key: for its state. O(1)."
  @spec peer(Foundation.MABEAM.Types.agent_id(), binary) :: peer
  def peer(id, private) when is_binary(private) and byte_size(private) == 32,
    do: %{id: id, private: private, runs: %{}}

  @doc """
  What an honest agent answers to a ballot of this protocol, `{answer, peer}`. `choose` gets `%{question: _, options: _, data: _}` in the first round, and gives one
  option. At most 16 votes are followed at once: of more the oldest are forgotten. O(messages), and a check of each signature that
  is new.
  """
  @spec respond(map, peer, (map -> term)) :: {term, peer}
  def respond(ballot, peer, choose), do: Peer.respond(ballot, peer, choose)

  @impl true
  def defaults, do: [rounds: @most + 2, slices: 4, quorum: 0]

  @impl true
  def properties do
    %{
      truthful: :two_options,
      efficient: false,
      budget_balanced: true,
      faulty: "f of 3f + 1",
      messages: "2n(f + 2)",
      source: "Dolev and Strong 1983"
    }
  end

  @impl true
  def init(problem, participants) do
    with {:ok, ballot} <- Ballot.new(problem),
         {:ok, faulty} <- faulty(Map.get(ballot, :faulty), length(participants)),
         {:ok, keys} <- keys(Map.get(ballot, :keys), participants),
         {:ok, nonce} <- nonce(Map.get_lazy(ballot, :nonce, fn -> :crypto.strong_rand_bytes(16) end)) do
      shown =
        ballot
        |> Ballot.shown()
        |> Map.merge(%{nonce: nonce, faulty: faulty, keys: keys, voters: Enum.sort(participants)})

      {:ok, %{shown: shown, faulty: faulty, round: 0, post: %{}, gone: [], signed: %{}, findings: %{}}}
    end
  end

  defp faulty(faulty, count) do
    if is_integer(faulty) and faulty >= 0 and count >= 3 * faulty + 1 and count <= @most,
      do: {:ok, faulty},
      else:
        Fields.invalid(
          :faulty,
          faulty,
          "f, of 3f + 1 agents at least and #{@most} at most, and there are #{count}"
        )
  end

  defp keys(%{} = keys, participants) do
    if Enum.all?(participants, &match?(<<_::binary-size(32)>>, keys[&1])),
      do: {:ok, Map.take(keys, participants)},
      else: keys(nil, participants)
  end

  defp keys(other, _participants),
    do: Fields.invalid(:keys, other, "a map from each agent to a public key of 32 bytes")

  defp nonce(<<_::binary-size(16)>> = nonce), do: {:ok, nonce}
  defp nonce(other), do: Fields.invalid(:nonce, other, "16 bytes")

  # In round r everybody gets what was sent to it in round r - 1. Who was silent once is not waited for again.
  @impl true
  def ask(state, round) do
    asks =
      for id <- state.shown.voters -- state.gone do
        {id, :vote,
         Map.merge(state.shown, %{round: round, messages: state.post |> Map.get(id, []) |> Enum.reverse()})}
      end

    {asks, %{state | round: round, post: %{}}}
  end

  @impl true
  def answer(id, {:vote, {:found, _, _} = found}, state) do
    if last?(state) and Message.finding?(found, id, state.shown),
      do: {:ok, put_in(state.findings[id], elem(found, 1))},
      else: {:invalid, :not_a_finding, state}
  end

  def answer(id, {:vote, answer}, state) do
    case not last?(state) && Message.letters(answer, state.shown, state.round) do
      letters when is_list(letters) -> {:ok, Enum.reduce(letters, state, &post(&1, id, &2))}
      _ -> {:invalid, :not_messages, state}
    end
  end

  def answer(_id, _other, state), do: {:invalid, :not_a_vote, state}

  defp last?(state), do: state.round == state.faulty + 2

  # The voter's own signatures are kept, by who passed them on: two that are valid are a proof.
  defp post({to, {voter, option, [{_voter, signature} | _]} = message}, from, state) do
    signed = Map.put_new(state.signed, {voter, option, from}, signature)
    %{state | post: Map.update(state.post, to, [message], &[message | &1]), signed: signed}
  end

  @impl true
  def decide(report, state) do
    cond do
      last?(state) -> agree(state)
      report.last -> {:failed, :no_agreement, %{why: :rounds}, state}
      true -> {:again, %{state | gone: state.gone ++ Map.keys(report.failures) ++ report.abstained}}
    end
  end

  defp agree(%{findings: findings} = state) do
    count = length(state.shown.voters)

    {finding, found} =
      findings |> Map.values() |> Enum.frequencies() |> Enum.max_by(&elem(&1, 1), fn -> {nil, 0} end)

    if found >= count - state.faulty and finding != nil,
      do: decided(finding, found / count, state),
      else: {:failed, :no_agreement, %{findings: findings, needed: count - state.faulty}, state}
  end

  defp decided(%{votes: votes, equivocated: equivocated} = finding, share, state) do
    detail = %{
      votes: votes,
      equivocated: Map.new(equivocated, &{&1, proof(&1, state)}),
      silent: (state.shown.voters -- Map.keys(votes)) -- equivocated,
      dissent: for({id, other} <- state.findings, other != finding, do: id)
    }

    case Ballot.ranking(state.shown, votes |> Map.values() |> Enum.frequencies()) do
      [{_option, 0} | _] -> {:failed, :no_votes, detail, state}
      [{winner, _votes} | _] -> {:decided, winner, Map.put(detail, :confidence, share), state}
    end
  end

  defp proof(voter, state) do
    candidates = for {{^voter, option, _from}, signature} <- state.signed, do: {option, signature}

    candidates
    |> Enum.uniq()
    |> Enum.filter(fn {option, signature} ->
      Message.signed?(state.shown, voter, option, [], {voter, signature})
    end)
    |> Enum.uniq_by(&elem(&1, 0))
    |> Enum.sort()
    |> Enum.take(2)
  end
end
