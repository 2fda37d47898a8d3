defmodule Foundation.MABEAM.Types.Request do
  @moduledoc """
  Asks an agent for something: which callback, with what.

  | `kind` | callback | reply |
  |---|---|---|
  | `:vote` | `handle_vote/2` | `{:vote, choice}` or `:abstain` |
  | `:proposal` | `handle_proposal/2` | `:accept`, `{:reject, reason}` or `{:counter, proposal}` |
  | `:bid` | `handle_bid_request/2` | `{:bid, bid}` or `:no_bid` |
  | `:task` | `handle_task/2` | `{:done, result}` or `{:failed, reason}` |
  | `:variable` | `handle_variable/3`, with `{name, value}` as payload | `:ok` or `{:propose, value}` |
  | `:utility` | `utility/2` | `{:utility, number}` |
  """

  alias Foundation.MABEAM.Types
  alias Foundation.MABEAM.Types.Fields

  @kinds [:vote, :proposal, :bid, :task, :variable, :utility]
  @expected "one of #{Enum.map_join(@kinds, ", ", &inspect/1)}"

  @enforce_keys [:kind]
  defstruct [:kind, :payload, :correlation_id]

  @type kind :: :vote | :proposal | :bid | :task | :variable | :utility
  @type reply ::
          {:vote, term}
          | :abstain
          | :accept
          | {:reject, term}
          | {:counter, term}
          | {:bid, term}
          | :no_bid
          | {:done, term}
          | {:failed, term}
          | :ok
          | {:propose, term}
          | {:utility, number}
  @type t :: %__MODULE__{kind: kind, payload: term, correlation_id: String.t() | nil}

  @doc """
  A request of a map, a keyword list or a pair `{kind, payload}`. O(1).

      iex> {:ok, request} = Foundation.MABEAM.Types.Request.new({:task, "count the words"})
      iex> request.kind
      :task
  """
  @spec new(map | keyword | {kind, term}) :: {:ok, t} | {:error, {:invalid, map}}
  def new({kind, payload}) when kind in @kinds and kind != :variable,
    do: {:ok, %__MODULE__{kind: kind, payload: payload}}

  def new({kind, payload}), do: new(kind: kind, payload: payload)
  def new(attributes), do: __MODULE__ |> Fields.build(attributes, rules()) |> shaped()

  @doc "As `new/1`; raises ArgumentError."
  @spec new!(map | keyword | {kind, term}) :: t
  def new!(attributes), do: attributes |> new() |> Fields.unwrap!()

  @doc "The kinds there are. O(1)."
  @spec kinds() :: [kind]
  def kinds, do: @kinds

  defp shaped({:ok, %{kind: :variable, payload: payload}} = request) do
    case payload do
      {name, _value} when is_atom(name) or is_binary(name) -> request
      _ -> Fields.invalid(:payload, payload, "{name, value} of a variable")
    end
  end

  defp shaped(other), do: other

  defp rules do
    [
      {:kind, :required, &(&1 in @kinds), @expected},
      {:payload, nil, fn _ -> true end, "any term"},
      {:correlation_id, nil, &(&1 == nil or Types.agent_id?(&1)), "a string of 1 to 255 bytes"}
    ]
  end
end
