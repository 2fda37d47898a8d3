defmodule Foundation.Config.History do
  @moduledoc false
  # Remembers the last changes, newest first, each with the version it led to; knows how to go back.

  alias Foundation.Config.{Change, Conceal}
  alias Foundation.Types.{Config, Error}

  @enforce_keys [:limit]
  defstruct [:limit, version: 0, entries: []]

  @type kind :: :update | :reset | :rollback | :register_schema | :restart | :cluster
  @type t :: %__MODULE__{limit: pos_integer, version: non_neg_integer, entries: [map]}

  @doc "An empty history, at version 0."
  @spec new() :: t
  def new, do: %__MODULE__{limit: Application.get_env(:foundation, :config_history_limit, 100)}

  @doc "The history with one version more."
  @spec record(t, kind, [Change.t()], pid, term) :: t
  def record(history, kind, changes, actor, note) do
    version = history.version + 1

    entry = %{
      version: version,
      kind: kind,
      at: DateTime.utc_now(),
      actor: actor,
      note: note,
      changes: changes
    }

    %{history | version: version, entries: Enum.take([entry | history.entries], history.limit)}
  end

  @doc """
  The configuration as it was at a version; registered sections stay, with the values they had or began with.
  """
  @spec at(t, Config.t(), term) :: {:ok, Config.t()} | :error
  def at(%{version: version}, config, version), do: {:ok, config}

  def at(history, config, version) when is_integer(version) and version < history.version do
    {later, rest} = Enum.split_while(history.entries, &(&1.version > version))

    if rest != [] or version == history.version - length(later),
      do: {:ok, Enum.reduce(later, config, &undo/2)},
      else: :error
  end

  def at(_history, _config, _version), do: :error

  @doc """
  The entries as they are shown, newest first. Options: `path:` only changes at, above or below it; `limit:`;
  `since:` a version, which is left out.
  """
  @spec list(t, [module], keyword) :: [map]
  def list(history, schemas, opts), do: filter(history.entries, schemas, opts)

  @doc "As `list/3`, of entries."
  @spec filter([map], [module], keyword) :: [map]
  def filter(entries, schemas, opts) do
    path = Keyword.get(opts, :path, [])
    since = Keyword.get(opts, :since, -1)

    entries =
      for entry <- entries,
          entry.version > since,
          changes = Enum.filter(entry.changes, &related?(&1.path, path)),
          changes != [] or path == [] do
        %{entry | changes: Enum.map(changes, &shown(&1, schemas))}
      end

    case Keyword.get(opts, :limit) do
      nil -> entries
      limit -> Enum.take(entries, limit)
    end
  end

  @doc "The error of a version that a history does not hold."
  @spec unknown(term, non_neg_integer, non_neg_integer) :: Error.t()
  def unknown(version, current, kept) do
    Error.new(
      error_type: :config_version_not_found,
      message: "Configuration version #{inspect(version)} is not in the history",
      context: %{version: version, current: current, kept: kept},
      severity: :medium,
      category: :config,
      subcategory: :access
    )
  end

  @doc "A change as it may be shown: without secrets; what was or is not there is nil."
  @spec shown(Change.t(), [module]) :: %{path: [term], old: term, new: term}
  def shown(change, schemas) do
    %{
      path: change.path,
      old: shown(change.path, change.old, schemas),
      new: shown(change.path, change.new, schemas)
    }
  end

  defp shown(_path, :missing, _schemas), do: nil
  defp shown(path, {:ok, value}, schemas), do: Conceal.value(path, value, schemas)

  defp undo(%{kind: :register_schema}, config), do: config
  defp undo(entry, config), do: Change.undo_all(config, entry.changes)

  defp related?(one, other), do: List.starts_with?(one, other) or List.starts_with?(other, one)
end
