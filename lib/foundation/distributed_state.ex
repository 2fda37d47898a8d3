defmodule Foundation.DistributedState do
  @moduledoc """
  Opens the same door as `Foundation.Distributed.State`, under a shorter name; everything is described there.

  **Scheduling**: as there.
  """

  alias Foundation.Distributed.State

  @doc "See `Foundation.Distributed.State.new/3`."
  @spec new(State.name(), State.type(), keyword) :: {:ok, pid} | {:error, term}
  def new(name, type, opts \\ []), do: State.new(name, type, opts)

  @doc "See `Foundation.Distributed.State.stop/1`."
  @spec stop(State.name()) :: :ok | {:error, :not_running}
  def stop(name), do: State.stop(name)

  @doc "See `Foundation.Distributed.State.mutate/3`."
  @spec mutate(State.name(), State.change() | [State.change()], keyword) :: :ok | {:error, State.reason()}
  def mutate(name, change, opts \\ []), do: State.mutate(name, change, opts)

  @doc "See `Foundation.Distributed.State.read/2`."
  @spec read(State.name(), [term]) :: {:ok, term} | {:error, :not_found | :wrong_path | :not_running}
  def read(name, path \\ []), do: State.read(name, path)

  @doc "See `Foundation.Distributed.State.subscribe/2`."
  @spec subscribe(State.name(), pid) :: :ok | {:error, :not_running}
  def subscribe(name, pid \\ self()), do: State.subscribe(name, pid)

  @doc "See `Foundation.Distributed.State.unsubscribe/2`."
  @spec unsubscribe(State.name(), pid) :: :ok | {:error, :not_running}
  def unsubscribe(name, pid \\ self()), do: State.unsubscribe(name, pid)

  @doc "See `Foundation.Distributed.State.status/1`."
  @spec status(State.name()) :: {:ok, map} | {:error, :not_running}
  def status(name), do: State.status(name)

  @doc "See `Foundation.Distributed.State.forget/2`."
  @spec forget(State.name(), node) :: :ok | {:error, :unknown_node | :connected | :not_running}
  def forget(name, node), do: State.forget(name, node)

  @doc "See `Foundation.Distributed.State.sync/1`."
  @spec sync(State.name()) :: :ok | {:error, :not_running}
  def sync(name), do: State.sync(name)
end
