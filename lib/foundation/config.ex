defmodule Foundation.Config do
  @moduledoc """
  Reads the configuration without asking a process, and changes it safely while the system runs.

      iex> Foundation.Config.get([:ai, :provider])
      {:ok, :mock}

  Values come from the compiled defaults, over which the application environment of `:foundation` is merged (keys
  `:ai`, `:capture`, `:storage`, `:interface`, `:dev`, `:infrastructure`).
  """

  alias Foundation.Config.Snapshot
  alias Foundation.Error
  alias Foundation.Services.ConfigServer
  alias Foundation.Types.Config

  @behaviour Foundation.Contracts.Configurable

  @type config_path :: [atom]
  @type config_value :: term

  @forbidden [[:ai, :api_key], [:storage, :encryption_key], [:security], [:system, :node_name]]

  @doc "Starts the configuration service unless it runs."
  @spec initialize() :: :ok | {:error, Error.t()}
  defdelegate initialize(), to: ConfigServer

  @doc "Starts the configuration service with the given sections unless it runs."
  @spec initialize(keyword) :: :ok | {:error, Error.t()}
  defdelegate initialize(opts), to: ConfigServer

  @doc "`status`, `uptime_ms`, `updates_count`, `last_update` (monotonic ms or nil), `subscribers_count`."
  @spec status() :: {:ok, map} | {:error, Error.t()}
  defdelegate status(), to: ConfigServer

  @doc "The whole configuration. O(1), no copy; `:service_unavailable` 5000 when the service is down."
  @impl true
  @spec get() :: {:ok, Config.t()} | {:error, Error.t()}
  defdelegate get(), to: ConfigServer

  @doc """
  The value at a path; `[]` gives the whole. O(length of the path), about 100 ns, no process asked, no copy.

  Errors are `Foundation.Types.Error` structs: `:config_path_not_found`; `:security_violation` 1000 for a path of more
  than 50 parts, one with a part that is neither atom nor binary, or a part that reaches for code;
  `:service_unavailable` 5000 when the service is down.

      iex> Foundation.Config.get([:interface, :no_such_key]) |> elem(1) |> Map.get(:error_type)
      :config_path_not_found
  """
  @impl true
  @spec get(config_path) :: {:ok, config_value} | {:error, Error.t()}
  def get(path) when is_list(path) do
    case Snapshot.fetch(path) do
      :down -> ConfigServer.get(path)
      result -> result
    end
  end

  @doc """
  Sets the value at one of `updatable_paths/0` and tells the subscribers.

  Errors, in the order they are looked for: `:security_violation` 1000 (path), 1005 (value),
  `:config_update_forbidden`, and the first rule of `Foundation.Validation.ConfigValidator` that the outcome breaks.
  """
  @impl true
  @spec update(config_path, config_value) :: :ok | {:error, Error.t()}
  defdelegate update(path, value), to: ConfigServer

  @doc "Says whether a configuration is valid."
  @impl true
  @spec validate(Config.t()) :: :ok | {:error, Error.t()}
  defdelegate validate(config), to: ConfigServer

  @doc "The paths that may change while running."
  @impl true
  @spec updatable_paths() :: [[atom, ...], ...]
  defdelegate updatable_paths(), to: ConfigServer

  @doc "Goes back to the compiled defaults, without the application environment, and tells the subscribers."
  @impl true
  @spec reset() :: :ok | {:error, Error.t()}
  defdelegate reset(), to: ConfigServer

  @doc "Whether the service runs."
  @impl true
  @spec available?() :: boolean
  defdelegate available?(), to: ConfigServer

  @doc """
  Subscribes the calling process to changes: `{:config_notification, {:config_updated, path, new_value}}` and
  `{:config_notification, {:config_reset, config}}`. Ends by itself when the process does.
  """
  @spec subscribe() :: :ok | {:error, Error.t()}
  def subscribe, do: ConfigServer.subscribe()

  @doc "Ends the caller's subscription."
  @spec unsubscribe() :: :ok
  def unsubscribe do
    _ = ConfigServer.unsubscribe()
    :ok
  end

  @doc """
  The value at a path, or the default on any error.

      iex> Foundation.Config.get_with_default([:no, :such, :path], 5)
      5
  """
  @spec get_with_default(config_path, config_value) :: config_value
  def get_with_default(path, default) do
    case get(path) do
      {:ok, value} -> value
      {:error, _} -> default
    end
  end

  @doc """
  As `update/2`, but first turns away, with a `Foundation.Error`, what is no path (`:invalid_path`) and the paths of
  secrets and identity (`:config_update_forbidden` 1401).
  """
  @spec safe_update(config_path, config_value) :: :ok | {:error, Error.t()}
  def safe_update(path, _value) when not is_list(path),
    do: Error.error_result(:invalid_path, "Invalid configuration path")

  def safe_update(path, _value) when path in @forbidden,
    do: Error.error_result(:config_update_forbidden, "Configuration path update forbidden")

  def safe_update(path, value), do: update(path, value)
end
