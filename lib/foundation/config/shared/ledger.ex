defmodule Foundation.Config.Shared.Ledger do
  @moduledoc false
  # What the cluster has agreed on: the values by path, their version, and the last changes with author and time. Pure.
  #
  # No path of it leads to another one: setting a section takes in what was set within it, and setting within a section
  # that is set changes the section's value.

  alias Foundation.Config.Change

  @format 1
  # What all of it may take: the group keeps values of 1 MB. The history has what the values leave.
  @bytes 1_000_000

  defstruct version: 0, values: %{}, entries: []

  @type path :: [atom]
  @type entry :: %{
          version: pos_integer,
          kind: :update | :rollback,
          at: integer,
          author: term,
          node: node,
          note: term,
          changes: [Change.t()]
        }
  @type t :: %__MODULE__{version: non_neg_integer, values: %{path => term}, entries: [entry]}

  @doc "Nothing is agreed on."
  @spec new() :: t
  def new, do: %__MODULE__{}

  @doc "As it is kept by the group."
  @spec pack(t) :: term
  def pack(ledger), do: {@format, ledger.version, ledger.values, ledger.entries}

  @doc "As it was kept by the group."
  @spec unpack(term) :: {:ok, t} | {:error, {:format, term}}
  def unpack({@format, version, values, entries}),
    do: {:ok, %__MODULE__{version: version, values: values, entries: entries}}

  def unpack(other), do: {:error, {:format, if(is_tuple(other), do: elem(other, 0), else: other)}}

  @doc "The values with these over them."
  @spec put(%{path => term}, [{path, term}]) :: %{path => term}
  def put(values, pairs), do: Enum.reduce(pairs, values, &put_one/2)

  defp put_one({path, value}, values) do
    case Enum.find(values, fn {other, _} -> other != path and List.starts_with?(path, other) end) do
      {above, section} ->
        Map.put(values, above, within(section, Enum.drop(path, length(above)), value))

      nil ->
        values
        |> Map.reject(fn {other, _} -> List.starts_with?(other, path) end)
        |> Map.put(path, value)
    end
  end

  defp within(_section, [], value), do: value

  defp within(section, [key | rest], value) do
    section = if is_map(section) and not is_struct(section), do: section, else: %{}
    Map.put(section, key, within(Map.get(section, key), rest, value))
  end

  @doc """
  The ledger with other values, as its next version; `:same` when they are the same. `how` has `kind`, `at` (ms), `author`,
  `node`, `note` and `limit`.
  """
  @spec advance(t, %{path => term}, map) :: {:ok, t} | :same
  def advance(%{values: values}, values, _how), do: :same

  def advance(ledger, values, how) do
    version = ledger.version + 1

    entry =
      how
      |> Map.take([:kind, :author, :node, :note])
      |> Map.merge(%{version: version, at: time(how.at, ledger.entries), changes: diff(ledger.values, values)})

    entries = bounded([entry | ledger.entries], how.limit, @bytes - :erlang.external_size(values))
    {:ok, %__MODULE__{version: version, values: values, entries: entries}}
  end

  # The times of a history never go back, whoever's clock they are of.
  defp time(at, []), do: at
  defp time(at, [last | _]), do: max(at, last.at)

  defp diff(old, new) do
    for path <- Enum.sort(Enum.uniq(Map.keys(old) ++ Map.keys(new))),
        before = value(old, path),
        now = value(new, path),
        before != now,
        do: %{path: path, old: before, new: now}
  end

  defp value(values, path) do
    case values do
      %{^path => value} -> {:ok, value}
      _ -> :missing
    end
  end

  # The newest is always kept.
  defp bounded([newest | older], limit, room) do
    {kept, _room} =
      older
      |> Enum.take(limit - 1)
      |> Enum.reduce_while({[newest], room - :erlang.external_size(newest)}, fn entry, {kept, room} ->
        room = room - :erlang.external_size(entry)
        if room < 0, do: {:halt, {kept, room}}, else: {:cont, {[entry | kept], room}}
      end)

    Enum.reverse(kept)
  end

  @doc "The values that were agreed on at a version; `:error` when the history does not go back so far."
  @spec at(t, term) :: {:ok, %{path => term}} | :error
  def at(%{version: version, values: values}, version), do: {:ok, values}

  def at(ledger, version) when is_integer(version) and version >= 0 and version < ledger.version do
    later = Enum.take_while(ledger.entries, &(&1.version > version))

    if length(later) == ledger.version - version,
      do: {:ok, later |> Enum.flat_map(& &1.changes) |> Enum.reduce(ledger.values, &undo/2)},
      else: :error
  end

  def at(_ledger, _version), do: :error

  defp undo(%{path: path, old: {:ok, value}}, values), do: Map.put(values, path, value)
  defp undo(%{path: path, old: :missing}, values), do: Map.delete(values, path)

  @doc "What is agreed on at a path, or below it as a map of that alone; `:error` when nothing is."
  @spec fetch(t, path) :: {:ok, term} | :error
  def fetch(%{values: values}, _path) when values == %{}, do: :error

  def fetch(%{values: values}, path) do
    tree = Enum.reduce(values, %{}, fn {path, value}, tree -> within(tree, path, value) end)
    with :missing <- Change.fetch(tree, path), do: :error
  end
end
