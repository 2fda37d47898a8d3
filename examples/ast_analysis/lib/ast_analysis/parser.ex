defmodule AstAnalysis.Parser do
  @moduledoc """
  Reads the abstract code of a compiled module: its functions, where they can be instrumented, how complex they are, and
  what they call.

  The debug chunk of a BEAM file has it, of Erlang as it is, of Elixir in a form of its own that its compiler turns into the
  same. Complexity is that of McCabe (1976): one, and one more for every way in which the function can go on.
  """

  @type point :: {:function | :clause | {:branch, atom}, line :: non_neg_integer}
  @type function_facts :: %{
          mfa: mfa,
          line: non_neg_integer,
          complexity: pos_integer,
          points: [point],
          calls: [{mfa, line :: non_neg_integer}]
        }
  @type facts :: %{module: module, functions: [function_facts]}

  @choices [:case, :if, :receive, :try, :fun, :named_fun, :maybe]

  @doc "The facts of the module in a file. Errors: `:no_debug_info`, `:unreadable`."
  @spec read(Path.t()) :: {:ok, facts} | {:error, :no_debug_info | :unreadable}
  def read(path) do
    case :beam_lib.chunks(to_charlist(path), [:debug_info]) do
      {:ok, {module, [debug_info: {:debug_info_v1, backend, data}]}} -> of_data(module, backend, data)
      {:ok, _other} -> {:error, :no_debug_info}
      {:error, :beam_lib, _reason} -> {:error, :unreadable}
    end
  end

  defp of_data(module, backend, data) do
    with true <- Code.ensure_loaded?(backend),
         {:ok, forms} <- backend.debug_info(:erlang_v1, module, data, []) do
      {:ok, of_forms(module, forms)}
    else
      _ -> {:error, :no_debug_info}
    end
  end

  defp of_forms(module, forms) do
    imports =
      for {:attribute, _, :import, {from, functions}} <- forms, function <- functions, into: %{} do
        {function, from}
      end

    local = for {:function, _, name, arity, _} <- forms, into: MapSet.new(), do: {name, arity}
    scope = %{module: module, local: local, imports: imports}

    functions =
      for {:function, anno, name, arity, clauses} <- forms do
        function({module, name, arity}, line(anno), clauses, scope)
      end

    %{module: module, functions: functions}
  end

  defp function(mfa, line, clauses, scope) do
    empty = %{scope: scope, within: :function, choices: length(clauses) - 1, points: [], calls: []}

    seen =
      Enum.reduce(clauses, empty, fn {:clause, anno, patterns, guards, body}, seen ->
        walk([patterns, guards, body], note(seen, {:clause, line(anno)}))
      end)

    %{
      mfa: mfa,
      line: line,
      complexity: 1 + seen.choices,
      points: [{:function, line} | Enum.reverse(seen.points)],
      calls: Enum.reverse(seen.calls)
    }
  end

  # -- the forms of a body -------------------------------------------------------------------------------------------

  defp walk({:clause, anno, patterns, guards, body}, seen),
    do: walk([patterns, guards, body], note(seen, {{:branch, seen.within}, line(anno)}))

  defp walk({:call, anno, target, arguments}, seen) do
    seen = call(target, length(arguments), line(anno), seen)
    walk(arguments, seen)
  end

  defp walk({:fun, anno, {:function, name, arity}}, seen) when is_atom(name),
    do: called(local(name, arity, seen.scope), line(anno), seen)

  defp walk({:fun, anno, {:function, {:atom, _, module}, {:atom, _, name}, {:integer, _, arity}}}, seen),
    do: called({module, name, arity}, line(anno), seen)

  defp walk({:op, _, operator, left, right}, seen) when operator in [:andalso, :orelse],
    do: walk([left, right], chosen(seen, 1))

  defp walk({comprehension, _, result, parts}, seen) when comprehension in [:lc, :bc, :mc],
    do: walk([result, parts], chosen(seen, 1))

  defp walk(form, %{within: outer} = seen) when is_tuple(form) and elem(form, 0) in @choices do
    kind = elem(form, 0)
    inner = form |> Tuple.to_list() |> tl() |> walk(%{chosen(seen, ways(form) - 1) | within: kind})
    %{inner | within: outer}
  end

  defp walk(form, seen) when is_tuple(form), do: form |> Tuple.to_list() |> walk(seen)
  defp walk([head | tail], seen), do: walk(tail, walk(head, seen))
  defp walk(_leaf, seen), do: seen

  # In how many ways it can go on.
  defp ways({:case, _, _, clauses}), do: length(clauses)
  defp ways({:if, _, clauses}), do: length(clauses)
  defp ways({:receive, _, clauses}), do: length(clauses)
  defp ways({:receive, _, clauses, _, _}), do: length(clauses) + 1
  defp ways({:try, _, _, clauses, catches, _}), do: max(length(clauses), 1) + length(catches)
  defp ways({:fun, _, {:clauses, clauses}}), do: length(clauses)
  defp ways({:named_fun, _, _, clauses}), do: length(clauses)
  defp ways({:maybe, _, _, {:else, _, clauses}}), do: length(clauses) + 1
  defp ways(_other), do: 1

  defp call({:remote, _, {:atom, _, module}, {:atom, _, name}}, arity, line, seen),
    do: called({module, name, arity}, line, seen)

  defp call({:atom, _, name}, arity, line, seen), do: called(local(name, arity, seen.scope), line, seen)
  defp call(computed, _arity, _line, seen), do: walk(computed, seen)

  defp local(name, arity, scope) do
    cond do
      MapSet.member?(scope.local, {name, arity}) -> {scope.module, name, arity}
      from = scope.imports[{name, arity}] -> {from, name, arity}
      :erl_internal.bif(name, arity) -> {:erlang, name, arity}
      true -> {scope.module, name, arity}
    end
  end

  defp called(mfa, line, seen), do: %{seen | calls: [{mfa, line} | seen.calls]}
  defp chosen(seen, more), do: %{seen | choices: seen.choices + more}
  defp note(seen, point), do: %{seen | points: [point | seen.points]}
  defp line(anno), do: :erl_anno.line(anno)
end
