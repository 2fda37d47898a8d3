defmodule Foundation.ContextVisitor do
  @moduledoc false
  # What tests run on other nodes: takes a context over and goes on with it to the next.

  use GenServer

  alias Foundation.Distributed.{Channels, Context}

  @impl true
  def init(_), do: {:ok, nil}

  @impl true
  def handle_call(:context, from, state) do
    Context.attach_caller(from)
    {:reply, Context.current(), state}
  end

  def start(name), do: GenServer.start(__MODULE__, nil, name: name)

  @doc "Handles a channel and tells `name` here of each message with the context it came in."
  def handle(channel, name) do
    {:ok, pid} =
      Channels.handle(channel, fn message, from -> send(name, {message, from, Context.current()}) end)

    pid
  end

  @doc "Collects what is sent to it."
  def collect(name, count) do
    pid = spawn(fn -> gather(count, []) end)
    Process.register(pid, name)
    pid
  end

  defp gather(count, got) when length(got) == count do
    receive do: ({:tell, who} -> send(who, {:got, Enum.reverse(got)}))
  end

  defp gather(count, got) do
    receive do
      message when elem(message, 0) != :tell -> gather(count, [message | got])
    end
  end

  @doc "What a collector has got."
  def told(name) do
    send(name, {:tell, self()})
    receive do: ({:got, got} -> got)
  end

  def within(context, module, function, arguments),
    do: Context.run(context, fn -> {Context.trace_id(), apply(module, function, arguments)} end)

  def visit(carried, further) do
    :ok = Context.attach(carried, {:message, :visit})

    case further do
      [] -> Context.current()
      [next | rest] -> :erpc.call(next, __MODULE__, :visit, [Context.carry(), rest])
    end
  end

  @doc "Emits an event for the cluster within a carried context."
  def emit(carried, type) do
    :ok = Foundation.Distributed.Context.attach(carried)
    {:ok, event} = Foundation.Events.emit_distributed(type, %{})
    event
  end
end
