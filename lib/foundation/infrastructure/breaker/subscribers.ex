defmodule Foundation.Infrastructure.Breaker.Subscribers do
  @moduledoc false
  # Who wants to hear of a breaker's changes: a Registry, asked only when there is a change.

  @spec child_spec(term) :: Supervisor.child_spec()
  def child_spec(_opts) do
    %{
      id: __MODULE__,
      start: {Registry, :start_link, [[keys: :duplicate, name: __MODULE__]]},
      type: :supervisor
    }
  end

  @spec subscribe(term) :: :ok | {:error, :not_running}
  def subscribe(key) do
    if self() in (__MODULE__ |> Registry.lookup(key) |> Enum.map(&elem(&1, 0))) do
      :ok
    else
      {:ok, _} = Registry.register(__MODULE__, key, nil)
      :ok
    end
  rescue
    ArgumentError -> {:error, :not_running}
  end

  @spec unsubscribe(term) :: :ok
  def unsubscribe(key) do
    Registry.unregister(__MODULE__, key)
  rescue
    ArgumentError -> :ok
  end

  @spec tell(term, atom, atom) :: :ok
  def tell(key, from, to) do
    for {pid, _} <- Registry.lookup(__MODULE__, key), do: send(pid, {:foundation_breaker, key, from, to})
    :ok
  rescue
    ArgumentError -> :ok
  end
end
