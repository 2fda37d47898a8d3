defmodule Foundation.ErrorContext.Carry do
  @moduledoc false
  # Keeps the context a process runs under in its dictionary, and takes it over to other processes of the
  # node.

  alias Foundation.Utils.Around

  @key :error_context
  @step :foundation_error_step

  @opaque t :: {node, Foundation.ErrorContext.t() | nil, {pos_integer, pos_integer} | nil}

  @doc "Makes a context the process's own; gives what `leave/1` needs."
  def enter(context), do: Process.put(@key, context)

  @doc "Goes back to what was before `enter/1`."
  def leave(nil), do: Process.delete(@key)
  def leave(context), do: Process.put(@key, context)

  @spec carry() :: t
  def carry, do: {node(), Process.get(@key), Process.get(@step)}

  # Steps are recorded on their node, so from another one only the context itself is taken over.
  @spec attach(t) :: :ok
  def attach({node, context, step}) do
    leave(context)
    if step != nil and node == node(), do: Process.put(@step, step), else: Process.delete(@step)
    :ok
  end

  @spec bind(fun) :: fun
  def bind(fun) do
    carried = carry()
    Around.calls(fun, &under(carried, &1))
  end

  @doc """
  The process's context; a task that has none takes that of the process which started it, with its step, if
  that one still has one.
  """
  @spec find() :: Foundation.ErrorContext.t() | nil
  def find do
    case Process.get(@key) do
      nil -> Enum.find_value(Process.get(:"$callers", []), &inherit/1)
      context -> context
    end
  end

  defp under(carried, fun) do
    before = carry()
    attach(carried)

    try do
      fun.()
    after
      attach(before)
    end
  end

  defp inherit(caller) when is_pid(caller) and node(caller) == node() do
    with {:dictionary, dictionary} <- Process.info(caller, :dictionary),
         {_, context} <- List.keyfind(dictionary, @key, 0) do
      case List.keyfind(dictionary, @step, 0) do
        {_, step} when is_tuple(step) -> Process.put(@step, step)
        _ -> :ok
      end

      context
    else
      _ -> nil
    end
  end

  defp inherit(_elsewhere), do: nil
end
