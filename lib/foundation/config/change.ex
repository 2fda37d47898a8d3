defmodule Foundation.Config.Change do
  @moduledoc false
  # Works out what a configuration becomes, and what that changes, without changing anything.
  #
  # A change is `%{path: path, old: {:ok, value} | :missing, new: {:ok, value} | :missing}`.

  alias Foundation.Config.{Guard, Schema}
  alias Foundation.Logic.ConfigLogic
  alias Foundation.Types.{Config, Error}
  alias Foundation.Validation.ConfigValidator

  @type t :: %{path: [term], old: {:ok, term} | :missing, new: {:ok, term} | :missing}

  @doc "The paths that may change: the built-in ones, then those of the schemas."
  @spec updatable_paths([module]) :: [[atom, ...]]
  def updatable_paths(schemas) do
    ConfigLogic.updatable_paths() ++ Enum.flat_map(schemas, &schema_paths/1)
  end

  @doc "The configuration with the values at the paths, and the changes; nothing when any of them is refused."
  @spec plan(Config.t(), [module], [{list, term}]) :: {:ok, Config.t(), [t]} | {:error, Error.t()}
  def plan(config, schemas, pairs) do
    with :ok <- each(pairs, fn {path, _} -> Guard.path(path) end),
         :ok <- each(pairs, fn {_, value} -> Guard.value(value) end),
         :ok <- updatable(pairs, schemas),
         updated = Enum.reduce(pairs, config, fn {path, value}, acc -> put(acc, path, value) end),
         {:ok, updated} <- validate(updated, schemas) do
      changes = for {path, _} <- pairs, do: %{path: path, old: fetch(config, path), new: fetch(updated, path)}
      {:ok, updated, changes}
    end
  end

  @doc "The configuration with the sections of the schemas completed, or what is wrong with it."
  @spec validate(Config.t(), [module]) :: {:ok, Config.t()} | {:error, Error.t()}
  def validate(config, schemas) do
    with :ok <- ConfigValidator.validate(config) do
      {config, violations} =
        Enum.reduce(schemas, {config, []}, fn schema, {acc, found} ->
          name = schema.__config_name__()

          case Schema.validate(schema, Map.get(acc, name, %{})) do
            {:ok, section} -> {Map.put(acc, name, section), found}
            {:error, violations} -> {acc, found ++ Enum.map(violations, &%{&1 | path: [name | &1.path]})}
          end
        end)

      if violations == [], do: {:ok, config}, else: {:error, violated(violations)}
    end
  end

  @doc "The changes that lead from one configuration to another, leaf by leaf."
  @spec diff(Config.t(), Config.t()) :: [t]
  def diff(old, new), do: diff(Map.from_struct(old), Map.from_struct(new), [])

  @doc "The configuration with the new values of the changes in place."
  @spec apply_all(Config.t(), [t]) :: Config.t()
  def apply_all(config, changes),
    do: Enum.reduce(changes, config, fn change, acc -> set(acc, change.path, change.new) end)

  @doc "The configuration as it was before the changes."
  @spec undo_all(Config.t(), [t]) :: Config.t()
  def undo_all(config, changes) do
    changes |> Enum.reverse() |> Enum.reduce(config, fn change, acc -> set(acc, change.path, change.old) end)
  end

  @doc "An error of the schemas: every violation is in the context."
  @spec violated([Schema.violation(), ...]) :: Error.t()
  def violated([first | rest] = violations) do
    more = if rest == [], do: "", else: " (and #{length(rest)} more)"

    Error.new(
      code: 1001,
      error_type: :validation_failed,
      message: "Invalid configuration: #{Enum.map_join(first.path, ".", &text/1)} #{first.message}#{more}",
      severity: :medium,
      context: %{violations: violations},
      category: :config,
      subcategory: :validation
    )
  end

  defp text(part) when is_atom(part) or is_binary(part), do: to_string(part)
  defp text(part), do: inspect(part)

  defp each(pairs, check) do
    Enum.find_value(pairs, :ok, fn pair -> with :ok <- check.(pair), do: nil end)
  end

  defp updatable(pairs, schemas) do
    builtin = Enum.reject(pairs, fn {path, _} -> ConfigLogic.updatable_path?(path) end)

    if builtin == [] do
      :ok
    else
      allowed = updatable_paths(schemas)

      each(builtin, fn {path, _} ->
        if path in allowed, do: :ok, else: {:error, ConfigLogic.update_forbidden(path, allowed)}
      end)
    end
  end

  # What lies below a fixed field is fixed.
  defp schema_paths(schema) do
    all = Schema.paths(schema)
    fixed = for {path, %{updatable: false}} <- all, do: path
    for {path, _} <- all, not Enum.any?(fixed, &List.starts_with?(path, &1)), do: path
  end

  @doc "The value at a path, or `:missing`."
  @spec fetch(term, list) :: {:ok, term} | :missing
  def fetch(value, []), do: {:ok, value}

  def fetch(%{} = map, [key | rest]) do
    case map do
      %{^key => value} -> fetch(value, rest)
      _ -> :missing
    end
  end

  def fetch(_leaf, _path), do: :missing

  defp set(config, path, {:ok, value}), do: put(config, path, value)
  defp set(config, path, :missing), do: delete(config, path)

  defp put(map, [key], value), do: Map.put(map, key, value)

  defp put(map, [key | rest], value) do
    inner = if is_map(map), do: Map.get(map, key), else: nil
    Map.put(map, key, put(if(is_map(inner), do: inner, else: %{}), rest, value))
  end

  defp delete(map, [key]) when is_map(map), do: Map.delete(map, key)

  defp delete(map, [key | rest]) when is_map(map) do
    case map do
      %{^key => inner} -> Map.put(map, key, delete(inner, rest))
      _ -> map
    end
  end

  defp delete(leaf, _path), do: leaf

  defp diff(same, same, _path), do: []

  defp diff(%{} = old, %{} = new, path) when not is_struct(old) and not is_struct(new) do
    for key <- Enum.uniq(Map.keys(old) ++ Map.keys(new)),
        change <- diff_at(fetch(old, [key]), fetch(new, [key]), path ++ [key]),
        do: change
  end

  defp diff(old, new, path), do: [%{path: path, old: {:ok, old}, new: {:ok, new}}]

  defp diff_at({:ok, old}, {:ok, new}, path), do: diff(old, new, path)
  defp diff_at(old, new, path), do: [%{path: path, old: old, new: new}]
end
