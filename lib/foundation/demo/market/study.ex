defmodule Foundation.Demo.Market.Study do
  @moduledoc false
  # Studies one BEAM file: how complex its functions are, which of them call each other in circles, how deep
  # the calls go, what nothing reaches, and what it calls elsewhere. As facts are, a study is a map of
  # strings and numbers, but for `calls`, which only serves to look these functions up and is not kept.

  alias Foundation.Demo.BeamFacts
  alias Foundation.Demo.Market.{CallGraph, Complexity}

  @most 5
  @shown 12

  @type t :: %{
          module: String.t(),
          md5: String.t(),
          functions: non_neg_integer,
          exports: [String.t()],
          complex: [{String.t(), pos_integer}],
          circle: [String.t()],
          circle_size: non_neg_integer,
          depth: non_neg_integer,
          unreached: [String.t()],
          calls: %{String.t() => [{atom, arity}]}
        }

  @doc "The study of the file, or why there is none, whatever is in it."
  @spec read(Path.t()) :: {:ok, t} | {:error, String.t()}
  def read(path) do
    with {:ok, binary} <- BeamFacts.file(path), do: parse(binary)
  rescue
    # Chunks may be whole and their content still nonsense.
    error -> {:error, Exception.message(error)}
  catch
    kind, reason -> {:error, Exception.format_banner(kind, reason)}
  end

  defp parse(binary) do
    case :beam_lib.chunks(binary, [:exports]) do
      {:ok, {module, [exports: exports]}} -> {:ok, study(module, exports, binary)}
      {:error, :beam_lib, reason} -> {:error, BeamFacts.reason(reason)}
    end
  end

  defp study(module, exports, binary) do
    {_source, %{edges: edges}, forms} = BeamFacts.calls(module, binary)
    {:ok, {_module, md5}} = :beam_lib.md5(binary)
    complexity = if forms, do: Complexity.of_forms(forms), else: Complexity.of_code(binary)
    functions = for {function, _ways} <- complexity, do: function
    graph = graph(functions, edges)
    components = CallGraph.components(graph)
    circle = largest(components)

    %{
      module: inspect(module),
      md5: Base.encode16(md5, case: :lower),
      functions: length(functions),
      exports: names(exports),
      complex:
        complexity
        |> Enum.sort_by(fn {function, ways} -> {-ways, function} end)
        |> Enum.take(@most)
        |> named(),
      circle: circle |> Enum.take(@shown) |> names(),
      circle_size: length(circle),
      depth: CallGraph.depth(components, graph),
      unreached: if(forms, do: unreached(functions, exports, forms, graph), else: []),
      calls: remote(edges)
    }
  end

  defp graph(functions, edges) do
    for {{caller, {:local, name, arity}}, _times} <- edges, reduce: Map.from_keys(functions, []) do
      graph -> Map.update(graph, caller, [{name, arity}], &[{name, arity} | &1])
    end
  end

  # One function that calls itself is no circle.
  defp largest(components) do
    largest = Enum.max_by(components, &length/1, fn -> [] end)
    if length(largest) > 1, do: Enum.sort(largest), else: []
  end

  # From outside come calls of what is exported, and of what runs when the module is loaded.
  defp unreached(functions, exports, forms, graph) do
    on_load = for {:attribute, _, :on_load, function} <- forms, do: function
    reached = CallGraph.reachable(exports ++ on_load, graph)

    for(function <- functions, not is_map_key(reached, function), do: function)
    |> names()
    |> Enum.take(@shown)
  end

  defp remote(edges) do
    for({{_caller, {to, name, arity}}, _times} <- edges, to != :local, uniq: true, do: {to, {name, arity}})
    |> Enum.group_by(fn {to, _function} -> inspect(to) end, &elem(&1, 1))
  end

  @doc "The functions that the module in the file exports; none where it cannot be read."
  @spec exports(Path.t()) :: %{{atom, arity} => true}
  def exports(path) do
    with {:ok, binary} <- BeamFacts.file(path),
         {:ok, {_module, [exports: exports]}} <- :beam_lib.chunks(binary, [:exports]) do
      Map.from_keys(exports, true)
    else
      _ -> %{}
    end
  end

  defp named(functions), do: for({function, number} <- functions, do: {name(function), number})
  defp names(functions), do: Enum.map(functions, &name/1)

  # As `Exception.format_mfa/3` has them.
  defp name({name, arity}), do: "#{Macro.inspect_atom(:remote_call, name)}/#{arity}"
end
