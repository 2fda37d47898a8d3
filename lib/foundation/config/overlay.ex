defmodule Foundation.Config.Overlay do
  @moduledoc false
  # What is set for the whole cluster, laid over what this node has of its own: pure. Remembers what lies beneath, which is
  # in force again when a path is set cluster-wide no more, and what this node's schemas refuse.

  alias Foundation.Config.Change
  alias Foundation.Logic.ConfigLogic
  alias Foundation.Types.{Config, Error}

  defstruct values: %{}, beneath: %{}, refused: %{}

  @type path :: [atom]
  @type t :: %__MODULE__{
          values: %{path => term},
          beneath: %{path => {:ok, term} | :missing},
          refused: %{path => Error.t()}
        }

  @doc "Nothing is set cluster-wide."
  @spec new() :: t
  def new, do: %__MODULE__{}

  @doc "The configuration with those values over it in place of the ones before, and the overlay that it has then."
  @spec put(Config.t(), [module], t, %{path => term}) :: {Config.t(), t}
  def put(config, schemas, overlay, values) do
    {kept, gone} = Map.split(overlay.beneath, Map.keys(values))
    lay(restored(config, schemas, gone), schemas, values, kept)
  end

  @doc "A configuration that was made anew, with the same values over it; what it has itself lies beneath."
  @spec over(Config.t(), [module], t) :: {Config.t(), t}
  def over(config, schemas, overlay), do: lay(config, schemas, overlay.values, %{})

  @doc "A configuration that comes of the present one, with the same values over it."
  @spec again(Config.t(), [module], t) :: {Config.t(), t}
  def again(config, schemas, overlay), do: lay(config, schemas, overlay.values, overlay.beneath)

  @doc "What the values make of a configuration, and those that it refuses."
  @spec laid(Config.t(), [module], %{path => term}) :: {Config.t(), %{path => Error.t()}}
  def laid(config, _schemas, values) when values == %{}, do: {config, %{}}

  def laid(config, schemas, values) do
    pairs = Enum.sort_by(values, fn {path, _} -> {length(path), path} end)

    case Change.plan(config, schemas, pairs) do
      {:ok, config, _changes} -> {config, %{}}
      {:error, _} -> by_section(config, schemas, pairs)
    end
  end

  @doc "The changes between two configurations at these paths."
  @spec changes(Config.t(), Config.t(), [path]) :: [Change.t()]
  def changes(old, new, paths) do
    for path <- Enum.sort_by(Enum.uniq(paths), &{length(&1), &1}),
        before = Change.fetch(old, path),
        now = Change.fetch(new, path),
        before != now,
        do: %{path: path, old: before, new: now}
  end

  @doc "`:ok` when none of the paths is, or touches, one that is set cluster-wide and in force."
  @spec free(t, [{path, term}]) :: :ok | {:error, Error.t()}
  def free(%{beneath: beneath}, _pairs) when beneath == %{}, do: :ok

  def free(%{beneath: beneath}, pairs) do
    set = Map.keys(beneath)

    case Enum.find(pairs, fn {path, _} -> Enum.any?(set, &related?(&1, path)) end) do
      nil -> :ok
      {path, _} -> {:error, taken(path)}
    end
  end

  @doc "Whether one of the paths leads to the other."
  @spec related?(list, list) :: boolean
  def related?(one, other), do: starts?(one, other) or starts?(other, one)

  # Paths of callers may be improper.
  defp starts?(_path, []), do: true
  defp starts?([part | path], [part | prefix]), do: starts?(path, prefix)
  defp starts?(_path, _prefix), do: false

  defp lay(config, schemas, values, beneath) do
    {laid, refused} = laid(config, schemas, values)

    # One that is refused now, and was not before, keeps the value that it had, and what lies beneath that.
    beneath =
      for path <- Map.keys(values), not is_map_key(refused, path) or is_map_key(beneath, path), into: %{} do
        {path, Map.get_lazy(beneath, path, fn -> Change.fetch(config, path) end)}
      end

    {laid, %__MODULE__{values: values, beneath: beneath, refused: refused}}
  end

  # What this node has of its own may have been changed since so that it does not fit any more: then it stays as it is.
  defp restored(config, _schemas, gone) when gone == %{}, do: config

  defp restored(config, schemas, gone) do
    changes = for {path, value} <- Enum.sort(gone), do: %{path: path, old: :missing, new: value}

    case Change.validate(Change.apply_all(config, changes), schemas) do
      {:ok, config} -> config
      {:error, _} -> config
    end
  end

  # One section's refusal does not keep the others out; within a section as much is taken as fits.
  defp by_section(config, schemas, pairs) do
    pairs
    |> Enum.group_by(fn {path, _} -> hd(path) end)
    |> Enum.sort()
    |> Enum.reduce({config, %{}}, fn {_section, pairs}, {config, refused} ->
      {config, more} = section(config, schemas, pairs)
      {config, Map.merge(refused, more)}
    end)
  end

  # Those that a schema finds fault with are left out, and the others, which may need each other, tried together.
  defp section(config, schemas, pairs) do
    with {:error, error} <- Change.plan(config, schemas, pairs),
         {[_ | _] = at_fault, [_ | _] = rest} <- Enum.split_with(pairs, &at_fault?(&1, error)) do
      {config, refused} = section(config, schemas, rest)
      {config, Map.merge(refused, Map.new(at_fault, fn {path, _value} -> {path, error} end))}
    else
      {:ok, config, _changes} -> {config, %{}}
      _all_or_none -> one_by_one(config, schemas, pairs)
    end
  end

  defp at_fault?({path, _value}, %{context: %{violations: violations}}),
    do: Enum.any?(violations, &related?(&1.path, path))

  defp at_fault?(_pair, _error), do: false

  # A value may need another one that comes after it, so that those refused are tried again while any was taken.
  defp one_by_one(config, schemas, pairs) do
    {config, refused} =
      Enum.reduce(pairs, {config, []}, fn {path, value} = pair, {config, refused} ->
        case Change.plan(config, schemas, [{path, value}]) do
          {:ok, config, _} -> {config, refused}
          {:error, error} -> {config, [{pair, error} | refused]}
        end
      end)

    if length(refused) in [0, length(pairs)],
      do: {config, Map.new(refused, fn {{path, _value}, error} -> {path, error} end)},
      else: one_by_one(config, schemas, refused |> Enum.reverse() |> Enum.map(&elem(&1, 0)))
  end

  defp taken(path) do
    error = ConfigLogic.update_forbidden(path, [])

    %{
      error
      | message: "Configuration path #{inspect(path)} is set cluster-wide",
        context: %{path: path, reason: :set_cluster_wide}
    }
  end
end
