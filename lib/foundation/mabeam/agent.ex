defmodule Foundation.MABEAM.Agent do
  @moduledoc """
  Makes a module an agent: a supervised process that answers votes, proposals, bids and tasks one after the other.

      defmodule MyApp.Voter do
        use Foundation.MABEAM.Agent

        @impl true
        def init(favourite), do: {:ok, favourite}

        @impl true
        def handle_vote(%{options: options}, favourite) do
          if favourite in options, do: {:vote, favourite, favourite}, else: {:abstain, favourite}
        end
      end

      :ok = Foundation.MABEAM.AgentRegistry.register_agent(:ann, module: MyApp.Voter, args: :tea)
      :ok = Foundation.MABEAM.AgentRegistry.start_agent(:ann)
      {:ok, {:vote, :tea}} = Foundation.MABEAM.Comms.request(:ann, {:vote, %{options: [:tea, :coffee]}})

  `init/1` alone is required. An agent without `c:handle_vote/2` abstains, one without `c:handle_bid_request/2` does not
  bid, one without `c:handle_variable/3` is content, one without `c:handle_event/2` does not hear; to a proposal, a task
  or a question for its utility it answers `{:error, {:not_supported, kind}}`.

  ## What a callback does wrong

  What it raises, throws or exits with, and what it returns that it must not, becomes the answer `{:error, {:crashed,
  reason}}` or `{:error, {:bad_return, callback}}`; the agent goes on with the state that it had before. After
  `max_failures` in a row it is started anew. A callback that runs longer than `callback_timeout` ends with its process,
  which the agent's restart policy starts again. Both times the last snapshot is what `c:restore/2` gets, when there is one.
  All of it is counted: see `Foundation.MABEAM.AgentRegistry.get_agent_info/1`.

  ## What a callback may rely on

  It runs in the context of who asked (`Foundation.Distributed.Context`). What it asks of other agents by
  `Foundation.MABEAM.Comms.request/3` has to be answered before its own answer is due, and may not come back to it:
  that is `{:error, {:cycle, agents}}` at once. What it costs it says by `spend/1`.

  Telemetry: the histogram `[:foundation, :mabeam, :agent, :callback]` in µs with `kind` and `type`, and the event
  `[:foundation, :mabeam, :agent, :callback_failed]`.

  **Scheduling**: one record in the histogram a callback, on a normal scheduler.
  """

  import Foundation.MABEAM.Agent.Account, only: [is_amount: 1]

  alias Foundation.MABEAM.Agent.Account
  alias Foundation.MABEAM.Types

  @type state :: term

  @doc "The first state, from the `args` of the spec. An error ends the start."
  @callback init(args :: term) :: {:ok, state} | {:error, term}

  @doc "What the agent says to a proposal."
  @callback handle_proposal(proposal :: term, state) ::
              {:accept, state} | {:reject, state} | {:reject, term, state} | {:counter, term, state}

  @doc "What the agent bids."
  @callback handle_bid_request(request :: term, state) :: {:bid, term, state} | {:no_bid, state}

  @doc "How the agent votes."
  @callback handle_vote(ballot :: term, state) :: {:vote, term, state} | {:abstain, state}

  @doc "Does a task."
  @callback handle_task(task :: term, state) :: {:ok, term, state} | {:error, term, state}

  @doc "Whether the agent is content with a value of a variable, or would have another."
  @callback handle_variable(name :: term, value :: term, state) :: {:ok, state} | {:propose, term, state}

  @doc "Hears what was told to it, to all, or to those who listen to a topic."
  @callback handle_event(event :: term, state) :: {:ok, state}

  @doc "How good an outcome is to the agent, as a number."
  @callback utility(outcome :: term, state) :: number

  @doc "What is kept of the state for `c:restore/2`; serialisable."
  @callback snapshot(state) :: term

  @doc "The first state, from the last snapshot and the `args` of the spec."
  @callback restore(snapshot :: term, args :: term) :: {:ok, state} | {:error, term}

  @doc "The agent ends."
  @callback terminate(reason :: term, state) :: term

  @optional_callbacks handle_proposal: 2,
                      handle_bid_request: 2,
                      handle_vote: 2,
                      handle_task: 2,
                      handle_variable: 3,
                      handle_event: 2,
                      utility: 2,
                      snapshot: 1,
                      restore: 2,
                      terminate: 2

  @doc false
  defmacro __using__(_options) do
    quote do
      @behaviour Foundation.MABEAM.Agent
    end
  end

  @doc """
  Says, in a callback, what it has cost: `tokens:` and `money:` (millionths), whole numbers from 0 to 2^53.

  The cost counts against the agent's `resources`, over all its lives, and goes with the answer to whoever asked, whose
  guards it counts against. `{:error, {:budget, :tokens | :money}}`: the agent does not have that much left, and nothing
  was counted; `{:error, :not_in_callback}` elsewhere. O(1).
  """
  @spec spend(keyword | map) :: :ok | {:error, :not_in_callback | {:budget, :tokens | :money}}
  def spend(cost) do
    cost = Map.new(cost)
    tokens = Map.get(cost, :tokens, 0)
    money = Map.get(cost, :money, 0)

    unless is_amount(tokens) and is_amount(money) and Map.keys(cost) -- [:tokens, :money] == [] do
      raise ArgumentError,
            "a cost has tokens: and money:, whole numbers from 0 to 2^53, got: #{inspect(cost, limit: 10)}"
    end

    Account.spend(tokens, money)
  end

  @doc "The agent whose callback this is, or nil outside of one. O(1)."
  @spec current() :: Types.agent_id() | nil
  def current, do: Account.agent()

  @doc "How many ms are left until the present callback's answer is due; `:infinity` when nobody waits. O(1)."
  @spec time_left() :: timeout
  def time_left do
    case Account.request() do
      {:infinity, _chain} -> :infinity
      {deadline, _chain} -> max(deadline - System.monotonic_time(:millisecond), 0)
    end
  end
end
