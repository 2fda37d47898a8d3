defmodule Foundation.Contracts.EventStore do
  @moduledoc """
  Says what an event store does, whatever it is built on.

  `Foundation.Events` and `Foundation.Services.EventStore` implement it.
  """

  alias Foundation.Types.{Error, Event}

  @type event_id :: Event.event_id()
  @type correlation_id :: Event.correlation_id()
  @type event_query :: map
  @type event_filter :: keyword

  @doc "Stores an event; an event of the same id is replaced."
  @callback store(Event.t() | {:ok, Event.t()}) :: {:ok, event_id} | {:error, Error.t()}

  @doc "Stores events, all or none; the ids in order."
  @callback store_batch([Event.t()]) :: {:ok, [event_id]} | {:error, Error.t()}

  @doc "The event of an id."
  @callback get(event_id) :: {:ok, Event.t()} | {:error, Error.t()}

  @doc "The events that fit a query."
  @callback query(event_query) :: {:ok, [Event.t()]} | {:error, Error.t()}

  @doc "The events of a correlation id, by timestamp."
  @callback get_by_correlation(correlation_id) :: {:ok, [Event.t()]} | {:error, Error.t()}

  @doc "Removes the events before a timestamp; how many."
  @callback prune_before(integer) :: {:ok, non_neg_integer} | {:error, Error.t()}

  @doc "What the store has done and holds."
  @callback stats() :: {:ok, map} | {:error, Error.t()}

  @doc "Whether the store runs."
  @callback available?() :: boolean

  @doc "Starts the store if it does not run."
  @callback initialize() :: :ok | {:error, Error.t()}

  @doc "The state of the service."
  @callback status() :: {:ok, map} | {:error, Error.t()}
end
