defmodule Foundation.Types.Event do
  @moduledoc """
  Describes something that happened: what, when, where, and what it followed from.

  `timestamp` is monotonic, `wall_time` is the calendar's; `parent_id` is the event this one followed from and
  `correlation_id` names the whole story it belongs to.
  """

  @type event_id :: pos_integer
  @type correlation_id :: String.t()
  @type t :: %__MODULE__{
          event_type: atom | nil,
          event_id: event_id | nil,
          timestamp: integer | nil,
          wall_time: DateTime.t() | nil,
          node: node | nil,
          pid: pid | nil,
          correlation_id: correlation_id | nil,
          parent_id: event_id | nil,
          data: term | nil
        }

  @enforce_keys [:event_type, :event_id, :timestamp]
  defstruct [:event_type, :event_id, :timestamp, :wall_time, :node, :pid, :correlation_id, :parent_id, :data]

  @doc """
  An event of the given fields, or of the given type.

  Unless given: type `:default`, a unique positive id, and the monotonic time in **native** units. O(1).

      iex> Foundation.Types.Event.new(:test).event_type
      :test
      iex> Foundation.Types.Event.new(data: 1).event_type
      :default
  """
  @spec new() :: t
  @spec new(keyword) :: t
  @spec new(atom) :: t
  def new(fields_or_type \\ [])
  def new(type) when is_atom(type), do: new(event_type: type)

  def new(fields) when is_list(fields) do
    struct(
      %__MODULE__{
        event_type: :default,
        event_id: System.unique_integer([:positive]),
        timestamp: System.monotonic_time()
      },
      fields
    )
  end

  @doc "An event with nothing in it: every field nil."
  @spec empty() :: %__MODULE__{
          event_type: nil,
          event_id: nil,
          timestamp: nil,
          wall_time: nil,
          node: nil,
          pid: nil,
          correlation_id: nil,
          parent_id: nil,
          data: nil
        }
  def empty, do: %__MODULE__{event_type: nil, event_id: nil, timestamp: nil}
end
