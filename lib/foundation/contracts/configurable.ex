defmodule Foundation.Contracts.Configurable do
  @moduledoc """
  Says what a source of configuration answers.

  `Foundation.Config` and `Foundation.Services.ConfigServer` implement it.
  """

  alias Foundation.Types.{Config, Error}

  @type config_path :: [atom]
  @type config_value :: term

  @doc "The whole configuration."
  @callback get() :: {:ok, Config.t()} | {:error, Error.t()}

  @doc "The value at a path."
  @callback get(config_path) :: {:ok, config_value} | {:error, Error.t()}

  @doc "Sets the value at a path, if the path is updatable and the outcome is valid."
  @callback update(config_path, config_value) :: :ok | {:error, Error.t()}

  @doc "Says whether a configuration is valid."
  @callback validate(Config.t()) :: :ok | {:error, Error.t()}

  @doc "The paths that may change while running."
  @callback updatable_paths() :: [config_path]

  @doc "Goes back to the defaults."
  @callback reset() :: :ok | {:error, Error.t()}

  @doc "Whether the configuration can be read now."
  @callback available?() :: boolean
end
