defmodule Foundation.MABEAM.Protocol do
  @moduledoc """
  Describes a way in which agents come to a decision, as functions without side effects; sessions run it.

      defmodule MyApp.FirstYes do
        use Foundation.MABEAM.Protocol

        @impl true
        def init(question, _participants), do: {:ok, %{question: question, who: nil}}

        @impl true
        def ask(state, _round), do: {[{:all, :proposal, state.question}], state}

        @impl true
        def answer(who, :accept, state), do: {:enough, %{state | who: who}}
        def answer(_who, {:reject, _}, state), do: {:ok, state}
        def answer(_who, _other, state), do: {:invalid, :not_an_answer, state}

        @impl true
        def decide(_report, %{who: nil} = state), do: {:failed, :nobody, %{}, state}
        def decide(_report, state), do: {:decided, state.who, %{}, state}
      end

      :ok = Foundation.MABEAM.Coordination.register_protocol(:first_yes, MyApp.FirstYes)
      {:ok, outcome} = Foundation.MABEAM.Coordination.coordinate(:first_yes, [:ann, :bob], "Who goes?")

  A session asks `c:ask/2` whom to ask what in a round, sends it, and gives each first answer of the round to
  `c:answer/3`; when all have answered, or failed, or the round's time is over, or the protocol has said `:enough`, it asks
  `c:decide/2`. Answers that come late, twice or from who was not asked do not reach the protocol; agents that
  abstain (`:abstain`, `:no_bid`) or fail are counted in the report. The session, not the protocol, keeps the time, the
  quorum and the budget (`Foundation.MABEAM.Guards`).

  What the functions raise ends the session, and nothing else: `{:error, {{:protocol_crashed, what}, outcome}}`.
  """

  alias Foundation.MABEAM.Types
  alias Foundation.MABEAM.Types.Request

  @type state :: term
  @type ask :: {Types.agent_id() | :all, Request.kind(), payload :: term}
  @type report :: %{
          round: pos_integer,
          last: boolean,
          asked: non_neg_integer,
          answered: non_neg_integer,
          abstained: [Types.agent_id()],
          failures: %{Types.agent_id() => term}
        }

  @doc "The first state, of what is to be decided and by whom (at least one, each once)."
  @callback init(problem :: term, participants :: [Types.agent_id()]) :: {:ok, state} | {:error, term}

  @doc "Whom to ask what in this round, counted from 1; `:all` stands for every participant. Each is asked at most once."
  @callback ask(state, round :: pos_integer) :: {[ask], state}

  @doc """
  Takes an answer. `{:invalid, reason, state}` counts it as a failure of the agent; `{:enough, state}` ends the round.
  """
  @callback answer(Types.agent_id(), Request.reply(), state) ::
              {:ok, state} | {:enough, state} | {:invalid, term, state}

  @doc """
  Decides after a round, of which `last` says that there can be no other: the decision with details, of which `:confidence` (0 to 1) is the outcome's own; another round; or
  that there is no decision, and why.
  """
  @callback decide(report, state) ::
              {:decided, term, map, state} | {:again, state} | {:failed, term, map, state}

  @doc """
  Defaults for `Foundation.MABEAM.Coordination.coordinate/4`: `rounds:`, `quorum:`, and `slices:`, by how many rounds the time is
  shared (`rounds`), for a protocol that seldom needs all of them.
  """
  @callback defaults() :: [
              rounds: pos_integer,
              quorum: :majority | :all | non_neg_integer,
              slices: pos_integer
            ]

  @doc "What can be said of it: `truthful:`, `efficient:`, `budget_balanced:`, `messages:`, `source:`."
  @callback properties() :: map

  @doc false
  defmacro __using__(_options) do
    quote do
      @behaviour Foundation.MABEAM.Protocol

      @impl Foundation.MABEAM.Protocol
      def defaults, do: [rounds: 1, quorum: 0]

      @impl Foundation.MABEAM.Protocol
      def properties, do: %{}

      defoverridable defaults: 0, properties: 0
    end
  end
end
