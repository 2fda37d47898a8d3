defmodule Foundation.Demo.BeamFacts do
  @moduledoc false
  # Reads one BEAM file: what the module exports, which functions it calls and from where, its size and attributes.
  #
  # The abstract code in the debug chunk is walked where there is one (Elixir's debug chunk gives the same forms);
  # otherwise the export, import and code chunks tell, the code being disassembled. Facts are maps of strings and
  # numbers: they are stored, and must be readable where the modules they speak of are not loaded.

  @busiest 12
  @attributes 12

  @type facts :: %{required(atom) => term}

  @doc "Facts of the module in the file, or why there are none."
  @spec read(Path.t()) :: {:ok, facts} | {:error, String.t()}
  def read(path) do
    with {:ok, binary} <- file(path), do: parse(binary)
  end

  @doc "Facts of the module in the binary."
  @spec parse(binary) :: {:ok, facts} | {:error, String.t()}
  def parse(binary) do
    case :beam_lib.chunks(binary, [:exports, :attributes], [:allow_missing_chunks]) do
      {:ok, {_module, [exports: :missing_chunk, attributes: _]}} ->
        {:error, "missing_chunk exports"}

      {:ok, {module, chunks}} ->
        {source, calls, _forms} = calls(module, binary)
        {:ok, Map.merge(describe(module, binary, chunks), Map.put(summarise(calls), :source, source))}

      {:error, :beam_lib, reason} ->
        {:error, reason(reason)}
    end
  end

  @doc "The file's bytes, or why there are none."
  @spec file(Path.t()) :: {:ok, binary} | {:error, String.t()}
  def file(path) do
    with {:error, reason} <- File.read(path), do: {:error, to_string(:file.format_error(reason))}
  end

  defp describe(module, binary, chunks) do
    {:ok, {_module, md5}} = :beam_lib.md5(binary)

    %{
      module: inspect(module),
      md5: Base.encode16(md5, case: :lower),
      file_bytes: byte_size(binary),
      code_bytes: code_bytes(binary),
      exports: length(chunks[:exports]),
      attributes: attributes(chunks[:attributes])
    }
  end

  defp code_bytes(binary) do
    case :beam_lib.chunks(binary, [~c"Code"]) do
      {:ok, {_module, [{_name, code}]}} -> byte_size(code)
      {:error, :beam_lib, _reason} -> 0
    end
  end

  defp attributes(:missing_chunk), do: []

  defp attributes(attributes) do
    for({name, values} <- attributes, name in [:behaviour, :behavior], value <- values, do: inspect(value))
    |> Enum.uniq()
    |> Enum.take(@attributes)
  end

  @doc """
  Who calls whom how often: what that is known from, `%{functions: n, edges: %{{caller, callee} => n}, dynamic: n}`, and the
  module's forms where there are any, else nil. A caller is `{name, arity}`, a callee `{module | :local, name, arity}`.
  """
  @spec calls(module, binary) :: {String.t(), map, [tuple] | nil}
  def calls(module, binary) do
    case forms(module, binary) do
      {:ok, source, forms} ->
        {source, from_forms(forms), forms}

      :none ->
        {source, calls} = from_code(binary)
        {source, calls, nil}
    end
  end

  # :beam_lib names the file it was given, here the binary itself, as the second element.
  @doc "Why a file is none of a module, of what `:beam_lib` says."
  @spec reason(term) :: String.t()
  def reason(reason) when is_tuple(reason),
    do: reason |> Tuple.delete_at(1) |> Tuple.to_list() |> Enum.join(" ")

  def reason(reason), do: inspect(reason)

  defp forms(module, binary) do
    with {:ok, {^module, [debug_info: {:debug_info_v1, backend, data}]}} <-
           :beam_lib.chunks(binary, [:debug_info]),
         true <- Code.ensure_loaded?(backend),
         {:ok, forms} <- backend.debug_info(:erlang_v1, module, data, []) do
      {:ok, if(backend == :elixir_erl, do: "elixir", else: "abstract_code"), forms}
    else
      _ -> :none
    end
  end

  defp from_forms(forms) do
    functions = for {:function, _, name, arity, _} <- forms, do: {name, arity}

    imports =
      for {:attribute, _, :import, {from, list}} <- forms, {name, arity} <- list, into: %{} do
        {{name, arity}, from}
      end

    module = Enum.find_value(forms, fn form -> with {:attribute, _, :module, name} <- form, do: name end)
    scope = %{module: module, local: MapSet.new(functions), imports: imports}

    edges =
      for {:function, _, name, arity, clauses} <- forms, reduce: %{} do
        edges -> walk(clauses, {scope, {name, arity}}, edges)
      end

    {dynamic, edges} = Map.pop(edges, :dynamic, 0)
    %{functions: length(functions), edges: edges, dynamic: dynamic}
  end

  defp walk({:call, _, target, arguments}, context, edges) do
    edges = call(target, length(arguments), context, edges)
    walk(arguments, context, edges)
  end

  defp walk(
         {:fun, _, {:function, {:atom, _, module}, {:atom, _, name}, {:integer, _, arity}}},
         context,
         edges
       ) do
    count(edges, context, {module, name, arity})
  end

  defp walk({:fun, _, {:function, name, arity}}, {scope, _} = context, edges) when is_atom(name) do
    count(edges, context, resolve(scope, name, arity))
  end

  defp walk([head | tail], context, edges), do: walk(tail, context, walk(head, context, edges))
  defp walk(form, context, edges) when is_tuple(form), do: walk(Tuple.to_list(form), context, edges)
  defp walk(_leaf, _context, edges), do: edges

  defp call({:remote, _, {:atom, _, module}, {:atom, _, name}}, arity, context, edges) do
    count(edges, context, {module, name, arity})
  end

  defp call({:atom, _, name}, arity, {scope, _} = context, edges) do
    count(edges, context, resolve(scope, name, arity))
  end

  defp call(target, _arity, context, edges) do
    edges = Map.update(edges, :dynamic, 1, &(&1 + 1))
    walk(target, context, edges)
  end

  defp resolve(scope, name, arity) do
    cond do
      MapSet.member?(scope.local, {name, arity}) -> {scope.module, name, arity}
      from = scope.imports[{name, arity}] -> {from, name, arity}
      :erl_internal.bif(name, arity) -> {:erlang, name, arity}
      true -> {scope.module, name, arity}
    end
  end

  defp count(edges, {scope, caller}, {module, name, arity}) do
    callee = if module == scope.module, do: {:local, name, arity}, else: {module, name, arity}
    Map.update(edges, {caller, callee}, 1, &(&1 + 1))
  end

  defp from_code(binary) do
    case :beam_disasm.file(binary) do
      {:beam_file, module, _exports, _attributes, _info, functions} ->
        edges =
          for {:function, name, arity, _label, instructions} <- functions,
              instruction <- instructions,
              {to, function, n} <- called(instruction),
              reduce: %{} do
            edges -> count(edges, {%{module: module}, {name, arity}}, {to, function, n})
          end

        {"code", %{functions: length(functions), edges: edges, dynamic: 0}}

      {:error, :beam_lib, _reason} ->
        {"imports", from_imports(binary)}
    end
  end

  defp called({call, _, {:extfunc, module, name, arity}}) when call in [:call_ext, :call_ext_only],
    do: [{module, name, arity}]

  defp called({:call_ext_last, _, {:extfunc, module, name, arity}, _}), do: [{module, name, arity}]
  defp called({call, _, {module, name, arity}}) when call in [:call, :call_only], do: [{module, name, arity}]
  defp called({:call_last, _, {module, name, arity}, _}), do: [{module, name, arity}]
  defp called(_instruction), do: []

  # Each imported function is called at least once, from somewhere.
  defp from_imports(binary) do
    imports =
      case :beam_lib.chunks(binary, [:imports]) do
        {:ok, {_module, [imports: imports]}} -> imports
        {:error, :beam_lib, _reason} -> []
      end

    %{functions: 0, edges: Map.new(imports, &{{{:unknown, 0}, &1}, 1}), dynamic: 0}
  end

  defp summarise(%{functions: functions, edges: edges, dynamic: dynamic}) do
    {local, remote} = Enum.split_with(edges, fn {{_caller, callee}, _n} -> elem(callee, 0) == :local end)

    %{
      functions: functions,
      local_calls: total(local),
      remote_calls: total(remote),
      dynamic_calls: dynamic,
      callees: by(remote, fn {{_caller, callee}, _n} -> callee end) |> Enum.map(&named/1),
      callers:
        edges |> by(fn {{caller, _callee}, _n} -> caller end) |> Enum.take(@busiest) |> Enum.map(&named/1)
    }
  end

  defp total(edges), do: edges |> Enum.map(&elem(&1, 1)) |> Enum.sum()

  defp by(edges, key) do
    edges
    |> Enum.reduce(%{}, fn {_, n} = edge, acc -> Map.update(acc, key.(edge), n, &(&1 + n)) end)
    |> Enum.sort_by(fn {key, n} -> {-n, key} end)
  end

  defp named({{module, name, arity}, n}), do: {Exception.format_mfa(module, name, arity), n}
  defp named({{name, arity}, n}), do: {"#{name}/#{arity}", n}
end
