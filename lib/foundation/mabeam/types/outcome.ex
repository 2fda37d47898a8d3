defmodule Foundation.MABEAM.Types.Outcome do
  @moduledoc """
  Says how a coordination ended and what the agents really answered.

  | field | |
  |---|---|
  | `session_id`, `protocol`, `participants` | what was run, with whom |
  | `answers` | the last valid answer of each agent that gave one |
  | `abstentions` | agents that abstained |
  | `failures` | agents that gave no valid answer, each with the reason: `:timeout`, `:down`, `:busy`, `{:crashed, _}`, `{:invalid, _}`, … |
  | `decision` | what was decided; nil when nothing was |
  | `confidence` | from 0 to 1, as the protocol defines it |
  | `detail` | what the protocol adds: tallies, rankings, payments |
  | `rounds`, `messages` | how many were begun; how many requests were sent |
  | `late`, `doubled` | answers that came after their round, or again: they did not count |
  | `duration_us` | from the start of the session |
  | `cost` | what the agents said they spent: `%{tokens: n, money: millionths}` |
  | `trace_id` | of the context it ran in, or nil |
  """

  alias Foundation.MABEAM.Types
  alias Foundation.MABEAM.Types.Fields

  @enforce_keys [:protocol, :participants]
  defstruct [
    :session_id,
    :protocol,
    :decision,
    :trace_id,
    participants: [],
    answers: %{},
    abstentions: [],
    failures: %{},
    confidence: 0.0,
    detail: %{},
    rounds: 0,
    messages: 0,
    late: 0,
    doubled: 0,
    duration_us: 0,
    cost: %{tokens: 0, money: 0}
  ]

  @type t :: %__MODULE__{
          session_id: String.t() | nil,
          protocol: atom,
          participants: [Types.agent_id()],
          answers: %{Types.agent_id() => term},
          abstentions: [Types.agent_id()],
          failures: %{Types.agent_id() => term},
          decision: term,
          confidence: number,
          detail: map,
          rounds: non_neg_integer,
          messages: non_neg_integer,
          late: non_neg_integer,
          doubled: non_neg_integer,
          duration_us: non_neg_integer,
          cost: Types.cost(),
          trace_id: String.t() | nil
        }

  @doc "An outcome of a map or keyword list. O(participants)."
  @spec new(map | keyword) :: {:ok, t} | {:error, {:invalid, map}}
  def new(attributes), do: Fields.build(__MODULE__, attributes, rules())

  @doc "As `new/1`; raises ArgumentError."
  @spec new!(map | keyword) :: t
  def new!(attributes), do: Fields.build!(__MODULE__, attributes, rules())

  defp rules do
    natural? = &(is_integer(&1) and &1 >= 0)
    text? = &(&1 == nil or is_binary(&1))
    any? = fn _ -> true end

    [
      {:protocol, :required, &is_atom/1, "an atom"},
      {:participants, :required, &ids?/1, "a list of agent ids"},
      {:session_id, nil, text?, "a string or nil"},
      {:trace_id, nil, text?, "a string or nil"},
      {:decision, nil, any?, "any term"},
      {:answers, %{}, &is_map/1, "a map"},
      {:abstentions, [], &ids?/1, "a list of agent ids"},
      {:failures, %{}, &is_map/1, "a map"},
      {:confidence, 0.0, &(is_number(&1) and &1 >= 0 and &1 <= 1), "a number from 0 to 1"},
      {:detail, %{}, &is_map/1, "a map"},
      {:rounds, 0, natural?, "a whole number from 0"},
      {:messages, 0, natural?, "a whole number from 0"},
      {:late, 0, natural?, "a whole number from 0"},
      {:doubled, 0, natural?, "a whole number from 0"},
      {:duration_us, 0, natural?, "a whole number of µs from 0"},
      {:cost, Types.no_cost(), &match?(%{tokens: _, money: _}, &1), "a map of tokens: and money:"}
    ]
  end

  defp ids?(term),
    do: is_list(term) and not List.improper?(term) and Enum.all?(term, &Types.agent_id?/1)
end
