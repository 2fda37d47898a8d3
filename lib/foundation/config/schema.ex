defmodule Foundation.Config.Schema do
  @moduledoc """
  Declares what a section of the configuration may hold; values are checked against it and defaults come from
  it.

      defmodule MyApp.PaymentsConfig do
        use Foundation.Config.Schema

        defconfig :payments do
          field :provider, {:enum, [:stripe, :adyen, :none]}, default: :none, doc: "Who takes the money"
          field :api_key, :string, required: true, sensitive: true, depends_on: {:provider, [:stripe, :adyen]}
          field :timeout, :duration, default: 5_000, min: 100, max: 60_000
          field :currencies, {:list, :string}, default: ["EUR"], min: 1
        end
      end

      Foundation.Config.register_schema(MyApp.PaymentsConfig)
      Foundation.Config.get([:payments, :timeout])

  `defconfig do` without a name takes the module's last part, in small letters and without a final `Config`.

  ## Types

  `:string` (UTF-8), `:binary`, `:integer`, `:pos_integer`, `:non_neg_integer`, `:float`, `:number`,
  `:boolean`, `:atom` (neither nil nor a boolean), `:module` (one that can be loaded), `:duration`
  (milliseconds or `:infinity`), `:url`, `:map`, `:keyword`, `:any`, `{:enum, values}`, `{:list, type}`,
  `{:map, key_type, value_type}`, `{:tuple, types}`, `{:or, types}`, and another schema module, which nests.

  ## Options of a field

  | option | meaning |
  |---|---|
  | `required: true` | there is no default and the value may not be nil |
  | `default:` | the value when none is given; it must itself be valid. Without one, nil stands for "not set" |
  | `min:`, `max:` | bounds of a number, of the length of text and lists, of the size of a map |
  | `format:` | a regular expression, or its source, that text matches |
  | `one_of:` | the values that are allowed |
  | `depends_on:` | `field`, `{field, value}`, `{field, [values]}` or a list of these; see below |
  | `validate:` | a function of the value that gives `:ok`, `true`, or `{:error, message}` |
  | `doc:` | what it means, for the generated documentation |
  | `sensitive: true` | shown as `"[REDACTED]"` in history, events and violations |
  | `updatable: false` | fixed once the schema is registered |

  A field with `depends_on:` may be set, and is required if it says so, only while the other field is set (neither nil
  nor false) or has one of the values. Its default is never wrong.

  Options are evaluated where they stand and once more each time the schema is asked, so they may call
  functions of other modules but not refer to variables of the module's body; `validate:` may name a function
  of the module itself.

  `use Foundation.Config.Schema` takes `unknown: :error` (default), `:drop` or `:keep`, which says what
  becomes of keys that are no field, and `otp_app:`, the application whose environment is merged over the
  defaults, under the section's name, when the schema is registered (default `:foundation`).

  ## What the module gets

  `defaults/0`, `validate/1`, `config_docs/0`, and a table of the fields at the end of its documentation.
  """

  alias Foundation.Config.Schema.{Check, Docs, Field}

  @type violation :: %{path: [term], code: atom, message: String.t(), value: term}

  @doc "The name of the section."
  @callback __config_name__() :: atom

  @doc "The fields."
  @callback __config_schema__() :: [struct]

  @doc "The values when none are given. Required fields are nil."
  @callback defaults() :: map

  @doc "The values with defaults filled in, or everything that is wrong with them."
  @callback validate(map | keyword) :: {:ok, map} | {:error, [violation, ...]}

  @doc "The fields as a Markdown table."
  @callback config_docs() :: String.t()

  @redacted "[REDACTED]"

  @doc false
  defmacro __using__(opts) do
    quote do
      @behaviour Foundation.Config.Schema
      import Foundation.Config.Schema, only: [defconfig: 1, defconfig: 2]
      @foundation_config_opts unquote(__MODULE__).options!(unquote(opts))
    end
  end

  @doc "Declares the section, named after the module."
  defmacro defconfig(do: block), do: section(nil, block)

  @doc "Declares the section under a name."
  defmacro defconfig(name, do: block), do: section(name, block)

  @doc "Declares a field; see the module's documentation."
  defmacro field(name, type, opts \\ []) do
    quoted = Macro.escape({name, type, opts})

    # A function of the module itself, which `validate:` may name, is not there yet.
    now =
      if Keyword.keyword?(opts) and Keyword.has_key?(opts, :validate),
        do: Keyword.put(opts, :validate, quote(do: &Foundation.Config.Schema.later/1)),
        else: opts

    quote do
      declared = Foundation.Config.Schema.Field.new!(unquote(name), unquote(type), unquote(now))
      @foundation_config_fields declared
      @foundation_config_quoted unquote(quoted)
    end
  end

  @doc "Whether a term is a module that was made with `use Foundation.Config.Schema`. O(1)."
  @spec schema?(term) :: boolean
  def schema?(module) when is_atom(module) and not is_nil(module) and not is_boolean(module) do
    function_exported?(module, :__config_schema__, 0) or
      (match?("Elixir." <> _, Atom.to_string(module)) and Code.ensure_loaded?(module) and
         function_exported?(module, :__config_schema__, 0))
  end

  def schema?(_term), do: false

  @doc "The values of a schema with defaults filled in, or all violations, in the order of the fields."
  @spec validate(module, map | keyword) :: {:ok, map} | {:error, [violation, ...]}
  def validate(schema, values) do
    case Check.values(schema, values, []) do
      {values, []} -> {:ok, values}
      {_values, violations} -> {:error, violations}
    end
  end

  @doc "The paths of all fields below a schema's section, nested ones included, with the fields."
  @spec paths(module) :: [{[atom, ...], Field.t()}]
  def paths(schema), do: paths(schema.__config_schema__(), [schema.__config_name__()])

  defp paths(fields, prefix) do
    Enum.flat_map(fields, fn field ->
      path = prefix ++ [field.name]
      nested = if schema?(field.type), do: paths(field.type.__config_schema__(), path), else: []
      [{path, field} | nested]
    end)
  end

  @doc "What stands in place of a sensitive value."
  @spec redacted() :: String.t()
  def redacted, do: @redacted

  # -- what the macros call ----------------------------------------------------------------------------------

  @doc false
  def options!(opts) do
    opts = Keyword.validate!(opts, unknown: :error, otp_app: :foundation)

    opts[:unknown] in [:error, :drop, :keep] ||
      raise ArgumentError, "unknown: is :error, :drop or :keep, got: #{inspect(opts[:unknown])}"

    opts
  end

  @doc false
  def later(_value), do: true

  @doc false
  def name!(nil, module) do
    last = module |> Module.split() |> List.last()
    short = String.replace_suffix(last, "Config", "")
    String.to_atom(Macro.underscore(if short == "", do: last, else: short))
  end

  def name!(name, _module) when is_atom(name), do: name
  def name!(name, _module), do: raise(ArgumentError, "the section's name is an atom, got: #{inspect(name)}")

  @doc false
  def fields!(fields) do
    names = Enum.map(fields, & &1.name)

    case names -- Enum.uniq(names) do
      [] -> :ok
      [twice | _] -> raise ArgumentError, "field #{inspect(twice)} is declared twice"
    end

    for field <- fields, {other, _} <- field.depends_on, other not in names do
      raise ArgumentError, "field #{inspect(field.name)} depends on #{inspect(other)}, which is no field"
    end

    fields
  end

  @doc false
  def defaults(schema), do: schema |> Check.values(%{}, []) |> elem(0)

  @doc false
  def documented(moduledoc, fields) do
    case moduledoc do
      {_line, false} -> false
      {_line, text} when is_binary(text) -> text <> "\n\n## Fields\n\n" <> Docs.table(fields)
      _ -> "Configuration.\n\n## Fields\n\n" <> Docs.table(fields)
    end
  end

  defp section(name, block) do
    quote do
      Module.register_attribute(__MODULE__, :foundation_config_fields, accumulate: true)
      Module.register_attribute(__MODULE__, :foundation_config_quoted, accumulate: true)
      @foundation_config_name unquote(__MODULE__).name!(unquote(name), __MODULE__)

      try do
        import Foundation.Config.Schema, only: [field: 2, field: 3]
        unquote(block)
      after
        :ok
      end

      @before_compile unquote(__MODULE__)
    end
  end

  @doc false
  defmacro __before_compile__(env) do
    opts = Module.get_attribute(env.module, :foundation_config_opts)
    fields = env.module |> Module.get_attribute(:foundation_config_fields) |> Enum.reverse() |> fields!()
    quoted = env.module |> Module.get_attribute(:foundation_config_quoted) |> Enum.reverse()

    Module.put_attribute(
      env.module,
      :moduledoc,
      {env.line, documented(Module.get_attribute(env.module, :moduledoc), fields)}
    )

    for name <- [:fields, :quoted], do: Module.delete_attribute(env.module, :"foundation_config_#{name}")

    built =
      for {name, type, field_opts} <- quoted do
        quote do: Foundation.Config.Schema.Field.build(unquote(name), unquote(type), unquote(field_opts))
      end

    quote do
      @doc false
      @impl Foundation.Config.Schema
      def __config_name__, do: @foundation_config_name

      @doc false
      @impl Foundation.Config.Schema
      def __config_schema__, do: unquote(built)

      @doc false
      def __config_unknown__, do: unquote(opts[:unknown])

      @doc false
      def __config_app__, do: unquote(opts[:otp_app])

      @doc "The values when none are given. Required fields are nil."
      @impl Foundation.Config.Schema
      def defaults, do: Foundation.Config.Schema.defaults(__MODULE__)

      @doc "The values with defaults filled in, or everything that is wrong with them."
      @impl Foundation.Config.Schema
      def validate(values), do: Foundation.Config.Schema.validate(__MODULE__, values)

      @doc "The fields as a Markdown table."
      @impl Foundation.Config.Schema
      def config_docs, do: Foundation.Config.Schema.Docs.table(__config_schema__())
    end
  end
end
