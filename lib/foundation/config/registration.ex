defmodule Foundation.Config.Registration do
  @moduledoc false
  # Adds the sections of schemas to a configuration.

  alias Foundation.Config.{Change, Guard, Schema}
  alias Foundation.Types.{Config, Error}

  require Logger

  @builtin Map.keys(%Config{}) -- [:__struct__]

  @doc "The configuration with the schema's section, and the schemas with it."
  @spec add(Config.t(), [module], module) :: {:ok, Config.t(), [module]} | {:error, Error.t()}
  def add(config, schemas, module) do
    with :ok <- schema(module),
         name = module.__config_name__(),
         :ok <- free(name, module, schemas),
         :ok <- Guard.path([name]),
         values = Map.get_lazy(config, name, fn -> environment(module) end),
         {:ok, section} <- valid(module, name, values) do
      {:ok, Map.put(config, name, section), List.delete(schemas, module) ++ [module]}
    end
  end

  @doc "The configuration with each schema's section as it is without any setting; required fields are nil."
  @spec defaults(Config.t(), [module]) :: {:ok, Config.t()}
  def defaults(config, schemas) do
    {:ok,
     Enum.reduce(schemas, config, fn module, acc ->
       Map.put(acc, module.__config_name__(), initial(module))
     end)}
  end

  @doc """
  The configuration with the sections of schemas that were registered before; one that no longer fits is left
  out.
  """
  @spec again(Config.t(), [module]) :: {Config.t(), [module]}
  def again(config, schemas) do
    Enum.reduce(schemas, {config, []}, fn module, {config, kept} ->
      case add(config, kept, module) do
        {:ok, config, kept} ->
          {config, kept}

        {:error, error} ->
          Logger.error("Configuration section of #{inspect(module)} is left out: #{error.message}")
          {config, kept}
      end
    end)
  end

  # Compiled defaults alone may lack what is required; then the environment, which was valid once, is the way
  # back.
  defp initial(module) do
    defaults = module.defaults()

    case Schema.validate(module, defaults) do
      {:ok, section} ->
        section

      {:error, _} ->
        case Schema.validate(module, environment(module)) do
          {:ok, section} -> section
          {:error, _} -> defaults
        end
    end
  end

  defp environment(module), do: Application.get_env(module.__config_app__(), module.__config_name__(), %{})

  defp schema(module) do
    if Schema.schema?(module),
      do: :ok,
      else:
        error(:invalid_schema, "#{inspect(module)} is no module that uses Foundation.Config.Schema", module)
  end

  defp free(name, module, schemas) do
    other = Enum.find(schemas, &(&1 != module and &1.__config_name__() == name))

    cond do
      name in @builtin -> error(:schema_conflict, "#{inspect(name)} is a built-in section", module)
      other -> error(:schema_conflict, "#{inspect(name)} is the section of #{inspect(other)}", module)
      true -> :ok
    end
  end

  defp valid(module, name, values) do
    with {:error, violations} <- Schema.validate(module, values) do
      {:error, Change.violated(Enum.map(violations, &%{&1 | path: [name | &1.path]}))}
    end
  end

  defp error(type, message, module) do
    {:error,
     Error.new(
       error_type: type,
       message: message,
       context: %{module: module},
       severity: :medium,
       category: :config,
       subcategory: :validation
     )}
  end
end
