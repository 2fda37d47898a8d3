defmodule Foundation.Logic.ConfigLogic do
  @moduledoc """
  Reads, changes, merges and compares configurations: pure functions, no process.
  """

  alias Foundation.Config.Guard
  alias Foundation.Types.{Config, Error}
  alias Foundation.Validation.ConfigValidator

  require Logger

  @type config_path :: [atom]
  @type config_value :: term

  @updatable_paths [
    [:ai, :planning, :sampling_rate],
    [:ai, :planning, :performance_target],
    [:capture, :processing, :batch_size],
    [:capture, :processing, :flush_interval],
    [:interface, :query_timeout],
    [:interface, :max_results],
    [:dev, :debug_mode],
    [:dev, :verbose_logging],
    [:dev, :performance_monitoring],
    [:infrastructure, :rate_limiting, :enabled],
    [:infrastructure, :circuit_breaker, :enabled],
    [:infrastructure, :connection_pool, :enabled],
    [:infrastructure, :rate_limiting, :cleanup_interval]
  ]

  @doc "The paths of the built-in sections that may change while running."
  @spec updatable_paths() :: [[atom, ...], ...]
  def updatable_paths, do: @updatable_paths

  @doc """
  Whether a path of the built-in sections may change while running.

      iex> Foundation.Logic.ConfigLogic.updatable_path?([:dev, :debug_mode])
      true
      iex> Foundation.Logic.ConfigLogic.updatable_path?([:ai, :provider])
      false
  """
  @spec updatable_path?(config_path) :: boolean
  def updatable_path?(path) when is_list(path), do: path in @updatable_paths

  @doc """
  The configuration with the value at the path, if path and value are safe, the path is updatable and the
  outcome is valid. The errors, in the order they are looked for: `:security_violation` 1000 (path) and 1005
  (value), `:config_update_forbidden`, and those of `Foundation.Validation.ConfigValidator`.
  """
  @spec update_config(Config.t(), config_path, config_value) :: {:ok, Config.t()} | {:error, Error.t()}
  def update_config(%Config{} = config, path, value) when is_list(path) do
    with :ok <- Guard.path(path),
         :ok <- Guard.value(value),
         :ok <- updatable(path) do
      updated = put_in(config, path, value)
      with :ok <- ConfigValidator.validate(updated), do: {:ok, updated}
    end
  end

  @doc """
  The value at a path; an empty path gives the whole. A value of nil is found, a missing key is
  `:config_path_not_found`, an unsafe path `:security_violation` 1000, and what is no list `:invalid_path`.
  """
  @spec get_config_value(Config.t(), config_path) :: {:ok, config_value} | {:error, Error.t()}
  def get_config_value(config, path) when is_list(path) do
    with :ok <- Guard.path(path) do
      case walk(config, path) do
        {:ok, value} -> {:ok, value}
        :error -> {:error, not_found(path)}
      end
    end
  end

  def get_config_value(_config, path) do
    Logger.warning("Invalid path provided to get_config_value: #{inspect(path)}")

    {:error,
     Error.new(
       error_type: :invalid_path,
       message: "Invalid path type: #{inspect(path)}",
       context: %{path: path},
       category: :config,
       subcategory: :validation,
       severity: :medium
     )}
  end

  @doc """
  The configuration with the application's environment merged over it: sections that exist only, keyword lists
  taken as maps, maps within maps.
  """
  @spec merge_env_config(Config.t(), keyword) :: Config.t()
  def merge_env_config(%Config{} = config, env) when is_list(env) do
    Enum.reduce(env, config, fn {key, value}, acc ->
      if key != :__struct__ and Map.has_key?(acc, key),
        do: Map.put(acc, key, deep_merge(Map.get(acc, key), value)),
        else: acc
    end)
  end

  @doc """
  The configuration with each option put in place of the section of that name, which need not exist before.
  """
  @spec merge_opts_config(Config.t(), keyword) :: Config.t()
  def merge_opts_config(%Config{} = config, opts) when is_list(opts) do
    Enum.reduce(opts, config, fn {key, value}, acc -> Map.put(acc, key, value) end)
  end

  @doc "The defaults, the application's environment and the options, in rising order of precedence, checked."
  @spec build_config(keyword) :: {:ok, Config.t()} | {:error, Error.t()}
  def build_config(opts \\ []) do
    config =
      Config.new()
      |> merge_env_config(Application.get_all_env(:foundation))
      |> merge_opts_config(opts)

    with :ok <- ConfigValidator.validate(config), do: {:ok, config}
  end

  @doc "The defaults that are compiled in, without the application's environment."
  @spec reset_config() :: Config.t()
  def reset_config, do: Config.new()

  @doc """
  What differs, nested as the configurations are; each leaf is `%{old: value, new: value, path: path}`.

      iex> config = Foundation.Types.Config.new()
      iex> changed = put_in(config, [:dev, :debug_mode], true)
      iex> Foundation.Logic.ConfigLogic.diff_configs(config, changed)
      %{dev: %{debug_mode: %{old: false, new: true, path: [:dev, :debug_mode]}}}
  """
  @spec diff_configs(Config.t(), Config.t()) :: map
  def diff_configs(%Config{} = old, %Config{} = new),
    do: diff(Map.from_struct(old), Map.from_struct(new), [])

  @doc false
  @spec not_found(config_path) :: Error.t()
  def not_found(path) do
    Error.new(
      error_type: :config_path_not_found,
      message: "Configuration path not found: #{inspect(path)}",
      context: %{path: path},
      category: :config,
      subcategory: :access,
      severity: :medium
    )
  end

  @doc false
  @spec update_forbidden(config_path, [config_path]) :: Error.t()
  def update_forbidden(path, allowed) do
    Error.new(
      error_type: :config_update_forbidden,
      message: "Configuration path #{inspect(path)} cannot be updated at runtime",
      context: %{path: path, allowed_paths: allowed},
      category: :config,
      subcategory: :runtime,
      severity: :medium
    )
  end

  defp updatable(path) do
    if updatable_path?(path), do: :ok, else: {:error, update_forbidden(path, @updatable_paths)}
  end

  defp walk(value, []), do: {:ok, value}

  defp walk(map, [key | rest]) when is_map(map) do
    case map do
      %{^key => value} -> walk(value, rest)
      _ -> :error
    end
  end

  defp walk(_leaf, _path), do: :error

  defp deep_merge(%{} = left, right) when is_list(right) do
    if Keyword.keyword?(right), do: deep_merge(left, Map.new(right)), else: right
  end

  defp deep_merge(%{} = left, %{} = right), do: Map.merge(left, right, fn _, a, b -> deep_merge(a, b) end)
  defp deep_merge(_left, right), do: right

  defp diff(old, new, path) do
    for key <- Enum.uniq(Map.keys(old) ++ Map.keys(new)), reduce: %{} do
      acc ->
        case leaf_diff(Map.get(old, key), Map.get(new, key), path ++ [key]) do
          same when same == %{} -> acc
          difference -> Map.put(acc, key, difference)
        end
    end
  end

  defp leaf_diff(same, same, _path), do: %{}
  defp leaf_diff(%{} = old, %{} = new, path), do: diff(old, new, path)
  defp leaf_diff(old, new, path), do: %{old: old, new: new, path: path}
end
