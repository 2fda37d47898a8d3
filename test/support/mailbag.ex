defmodule Foundation.Mailbag do
  @moduledoc false
  # A process on another node that holds a lock, or subscribes, for a test, and keeps what it is sent.
  use GenServer

  alias Foundation.Coordination

  def start, do: GenServer.start(__MODULE__, nil)

  @impl true
  def init(nil), do: {:ok, []}

  @impl true
  def handle_call({:acquire, name}, _from, heard),
    do: {:reply, Coordination.acquire(name, timeout: 10_000), heard}

  # What subscribes the calling process.
  def handle_call({:run, {module, function, arguments}}, _from, heard),
    do: {:reply, apply(module, function, arguments), heard}

  def handle_call(:heard, _from, heard), do: {:reply, Enum.reverse(heard), heard}

  @impl true
  def handle_info(message, heard), do: {:noreply, [message | heard]}
end
