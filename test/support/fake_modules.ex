defmodule Foundation.FakeModules do
  @moduledoc false
  # Stands in for packages that are not installed: modules that exist for the length of one test only.
  #
  # Only for tests with async: false, as everybody sees such a module while it is there.

  import ExUnit.Callbacks, only: [on_exit: 1]

  @doc "Loads a module of that name and body (quoted), and removes it at the end of the test."
  def load(name, body) do
    if Code.ensure_loaded?(name), do: raise(ArgumentError, "#{inspect(name)} is there already")
    on_exit(fn -> unload(name) end)
    Code.compile_quoted({:defmodule, [context: Elixir], [name, [do: body]]})
    :ok
  end

  def unload(name) do
    :code.purge(name)
    :code.delete(name)
    :code.purge(name)
    :ok
  end

  @doc """
  Loads a `:telemetry` whose events arrive as `{:telemetry, name, measurements, metadata}` at the calling test, and whose
  attachments as `{:attached, id, names, handler, config}`.
  """
  def load_telemetry do
    test = self()
    :persistent_term.put(__MODULE__, test)
    on_exit(fn -> :persistent_term.erase(__MODULE__) end)

    load(
      :telemetry,
      quote do
        def execute(name, measurements, metadata) do
          send(:persistent_term.get(unquote(__MODULE__)), {:telemetry, name, measurements, metadata})
          :ok
        end

        def list_handlers(_prefix), do: []

        def attach_many(id, names, handler, config) do
          send(:persistent_term.get(unquote(__MODULE__)), {:attached, id, names, handler, config})
          :ok
        end
      end
    )
  end
end
