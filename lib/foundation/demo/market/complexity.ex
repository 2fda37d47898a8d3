defmodule Foundation.Demo.Market.Complexity do
  @moduledoc false
  # The cyclomatic complexity of functions (McCabe 1976): one, and one for each further way that a decision
  # may go. Of forms: clauses after the first, `andalso` and `orelse`, filters, a timeout. Of machine code:
  # tests and the arms of selections. Pure.

  @type function_id :: {atom, arity}

  @doc "Of each function of a module's forms."
  @spec of_forms([tuple]) :: [{function_id, pos_integer}]
  def of_forms(forms) do
    for {:function, _, name, arity, clauses} <- forms,
        do: {{name, arity}, 1 + extra(clauses) + walk(clauses, 0)}
  end

  @doc "Of each function of a disassembled module."
  @spec of_code(binary) :: [{function_id, pos_integer}]
  def of_code(binary) do
    case :beam_disasm.file(binary) do
      {:beam_file, _module, _exports, _attributes, _info, functions} ->
        for {:function, name, arity, _label, instructions} <- functions,
            do: {{name, arity}, 1 + (instructions |> Enum.map(&ways/1) |> Enum.sum())}

      {:error, :beam_lib, _reason} ->
        []
    end
  end

  defp ways(instruction) when is_tuple(instruction) and elem(instruction, 0) == :test, do: 1

  defp ways({select, _, _, {:list, arms}}) when select in [:select_val, :select_tuple_arity],
    do: div(length(arms), 2)

  defp ways(_instruction), do: 0

  defp extra(clauses), do: max(length(clauses) - 1, 0)

  defp walk({:case, _, value, clauses}, sum), do: walk([value | clauses], sum + extra(clauses))
  defp walk({:if, _, clauses}, sum), do: walk(clauses, sum + extra(clauses))
  defp walk({:receive, _, clauses}, sum), do: walk(clauses, sum + extra(clauses))

  defp walk({:receive, _, clauses, timeout, body}, sum),
    do: walk([timeout, body | clauses], sum + length(clauses))

  defp walk({:try, _, body, clauses, handlers, last}, sum),
    do: walk([body, clauses, handlers, last], sum + extra(clauses) + length(handlers))

  defp walk({:fun, _, {:clauses, clauses}}, sum), do: walk(clauses, sum + extra(clauses))
  defp walk({:named_fun, _, _, clauses}, sum), do: walk(clauses, sum + extra(clauses))

  defp walk({:op, _, operator, left, right}, sum) when operator in [:andalso, :orelse],
    do: walk([left, right], sum + 1)

  defp walk({comprehension, _, body, qualifiers}, sum) when comprehension in [:lc, :bc, :mc] do
    generators = Enum.count(qualifiers, &(elem(&1, 0) in [:generate, :b_generate, :m_generate]))
    walk([body | qualifiers], sum + length(qualifiers) - generators)
  end

  defp walk([head | tail], sum), do: walk(tail, walk(head, sum))
  defp walk(form, sum) when is_tuple(form), do: form |> Tuple.to_list() |> walk(sum)
  defp walk(_leaf, sum), do: sum
end
