defmodule Foundation.DistributedSupervisor.Store do
  @moduledoc false
  # The children of a supervisor, as all its nodes know them: in the coordination group, where one change comes after the
  # other, or in a replicated map, where each side of a split changes on and the last change of a child counts.
  #
  # `update/3` changes several children: the function gets each (nil: there is none) and answers `{:put, child}`, `:delete` or
  # `{:keep, reason}`. It may be called more than once.

  alias Foundation.DistributedSupervisor.Child
  alias Foundation.DistributedSupervisor.Store.{Consensus, Crdt}

  @type store :: {module, term}
  @type change :: {:put, Child.t()} | :delete | {:keep, term}

  @callback open(atom) :: {:ok, term} | {:error, term}
  @callback watch(term) :: :ok | {:error, term}
  @callback all(term) :: {:ok, %{term => Child.t()}} | {:error, term}
  @callback fetch(term, term) :: {:ok, Child.t() | nil} | {:error, term}
  @callback update(term, [term], (term, Child.t() | nil -> change)) ::
              {:ok, %{term => change}} | {:error, term}

  @doc "Opens the store of a supervisor, when it can be."
  @spec open(atom, :consensus | :crdt) :: {:ok, store} | {:error, term}
  def open(name, consistency) do
    module = if consistency == :consensus, do: Consensus, else: Crdt
    with {:ok, store} <- module.open(name), do: {:ok, {module, store}}
  end

  @doc "Tells the calling process of changes, as messages that begin with `:foundation_value` or `:foundation_state`; doing so twice is once."
  def watch({module, store}), do: module.watch(store)

  @doc "All children, as this node knows them."
  def all({module, store}), do: module.all(store)

  @doc "One child, as the group knows it."
  def fetch({module, store}, name), do: module.fetch(store, name)

  @doc "Changes children; what was done about each."
  def update({module, store}, names, function), do: module.update(store, names, function)

  @doc "Changes one child: `{:ok, child}` (nil when it was deleted), or `{:error, reason}` of `{:keep, reason}`."
  def update_one(store, name, function) do
    with {:ok, %{^name => change}} <- update(store, [name], fn _name, child -> function.(child) end) do
      case change do
        {:put, child} -> {:ok, child}
        :delete -> {:ok, nil}
        {:keep, reason} -> {:error, reason}
      end
    end
  end
end
