defmodule Foundation.ContextVisitor do
  @moduledoc false
  # What tests run on other nodes: takes a context over and goes on with it to the next.

  alias Foundation.Distributed.Context

  def visit(carried, further) do
    :ok = Context.attach(carried, {:message, :visit})

    case further do
      [] -> Context.current()
      [next | rest] -> :erpc.call(next, __MODULE__, :visit, [Context.carry(), rest])
    end
  end
end
