defmodule Foundation.Config.Guard do
  @moduledoc false
  # Turns away paths and values that have no place in a configuration: names that reach for code, text that
  # looks like an injection, functions, very large or very deep data. Also says of a whole configuration
  # whether every path that exists in it is safe, so that readers need not look again.

  alias Foundation.Types.Error

  @max_path 50
  @max_depth 20
  @max_binary 1_000_000
  @atom_patterns ~w(Elixir.System Elixir.File Elixir.Code Elixir.Process Elixir.Node Elixir.Kernel) ++
                   ~w(__struct__ __info__)
  @binary_patterns ["../", "etc/passwd", "drop table", "<script>", "eval_string"]
  @marks ["/", " ", "<", "_"]
  @code_modules [System, File, Code, Process]

  @doc "`:ok`, or `:security_violation` 1000. O(length of the path)."
  @spec path(list) :: :ok | {:error, Error.t()}
  def path(path) do
    if path?(path, @max_path), do: :ok, else: {:error, unsafe_path(path)}
  end

  @doc "`:ok`, or `:security_violation` 1005. O(size of the value)."
  @spec value(term) :: :ok | {:error, Error.t()}
  def value(value) do
    if value?(value, 0), do: :ok, else: {:error, unsafe_value(value)}
  end

  @doc "Whether no path that exists in these maps is unsafe, `:__struct__` apart."
  @spec sealed?(term) :: boolean
  def sealed?(config), do: sealed?(config, @max_path)

  defp sealed?(%{} = map, left) do
    Enum.all?(Map.delete(map, :__struct__), fn {key, value} ->
      left > 0 and part?(key) and sealed?(value, left - 1)
    end)
  end

  defp sealed?(_leaf, _left), do: true

  defp path?([], _left), do: true
  defp path?([part | rest], left) when left > 0, do: part?(part) and path?(rest, left - 1)
  defp path?(_too_long_or_improper, _left), do: false

  defp part?(part) when is_atom(part), do: part |> Atom.to_string() |> name?()

  defp part?(part) when is_binary(part), do: not String.contains?(part, @marks) or text?(part)
  defp part?(_part), do: false

  # Making letters small takes far longer than looking for one of the marks that each pattern has.
  defp text?(text), do: not String.contains?(String.downcase(text, :ascii), @binary_patterns)

  # Each pattern has one of the two beginnings, so a name with neither needs no search for all of them, which
  # costs more.
  defp name?(name), do: not begins?(name) or not String.contains?(name, @atom_patterns)

  defp begins?(<<"__", _::binary>>), do: true
  defp begins?(<<"Elixir.", _::binary>>), do: true
  defp begins?(<<_, rest::binary>>), do: begins?(rest)
  defp begins?(<<>>), do: false

  # `depth` is how many maps and lists the value lies within.
  defp value?(_value, depth) when depth > @max_depth, do: false
  defp value?(value, _depth) when is_function(value), do: false
  defp value?(value, _depth) when is_binary(value), do: byte_size(value) <= @max_binary
  defp value?(%{__struct__: module}, _depth) when module in @code_modules, do: false

  defp value?(%{} = map, depth) do
    map
    |> :maps.to_list()
    |> Enum.all?(fn {key, value} -> value?(key, 0) and value?(value, depth + 1) end)
  end

  defp value?([head | tail], depth), do: value?(head, depth + 1) and rest?(tail, depth)
  defp value?(_value, _depth), do: true

  defp rest?([head | tail], depth), do: value?(head, depth + 1) and rest?(tail, depth)
  defp rest?([], _depth), do: true
  defp rest?(improper, depth), do: value?(improper, depth + 1)

  defp unsafe_path(path) do
    Error.new(
      code: 1000,
      error_type: :security_violation,
      message: "Configuration path contains potentially malicious components: #{inspect(path)}",
      context: %{path: path, reason: :malicious_path},
      category: :config,
      subcategory: :security,
      severity: :high
    )
  end

  defp unsafe_value(value) do
    Error.new(
      code: 1005,
      error_type: :security_violation,
      message: "Configuration value contains potentially dangerous content",
      context: %{value_type: type(value), reason: :dangerous_value},
      category: :config,
      subcategory: :security,
      severity: :high
    )
  end

  defp type(value) when is_function(value), do: :function
  defp type(value) when is_struct(value), do: :struct
  defp type(value) when is_map(value), do: :map
  defp type(value) when is_list(value), do: :list
  defp type(value) when is_binary(value), do: :binary
  defp type(value) when is_atom(value), do: :atom
  defp type(value) when is_number(value), do: :number
  defp type(_value), do: :unknown
end
