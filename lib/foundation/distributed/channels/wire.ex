defmodule Foundation.Distributed.Channels.Wire do
  @moduledoc false
  # Puts one message into the queue to one node, and waits for room or for its delivery where that is asked for.

  alias Foundation.Distributed.Channels.InContext
  alias Foundation.Distributed.Fabric
  alias Foundation.Distributed.Fabric.Scope
  alias Foundation.Native

  @known [:timeout, :ack, :from, :cluster]

  @doc "The options of a message, checked; raises ArgumentError."
  def options([]), do: %{ack: false, timeout: 0, from: self(), key: nil, cluster: nil}

  def options(options) do
    unless Keyword.keyword?(options),
      do: raise(ArgumentError, "options are a keyword list, got: #{inspect(options)}")

    for {key, _} <- options, key not in @known do
      raise ArgumentError,
            "a message has no option #{inspect(key)}; it has #{Enum.map_join(@known, ", ", &inspect/1)}"
    end

    ack = boolean(Keyword.get(options, :ack, false))
    timeout = Keyword.get(options, :timeout, if(ack, do: 5_000, else: 0))

    %{
      ack: ack,
      timeout: timeout!(timeout),
      from: from(Keyword.get(options, :from, self())),
      key: nil,
      cluster: Scope.of(options[:cluster])
    }
  end

  @doc "A timeout in ms; raises ArgumentError."
  def timeout!(:infinity), do: :infinity
  def timeout!(ms) when is_integer(ms) and ms in 0..0xFFFFFFFF, do: ms

  def timeout!(other),
    do:
      raise(
        ArgumentError,
        "timeout is a number of milliseconds below 2^32 or :infinity, got: #{inspect(other)}"
      )

  defp boolean(value) when is_boolean(value), do: value
  defp boolean(value), do: raise(ArgumentError, "ack is true or false, got: #{inspect(value)}")
  defp from(pid) when is_pid(pid) and node(pid) == node(), do: pid
  defp from(other), do: raise(ArgumentError, "from is a process of this node, got: #{inspect(other)}")

  @doc "Sends to `{node, target}`, where the target is a name, a pid, or `[]` for the subscribers."
  def send(channel, {node, target}, message, options) when node == node() do
    case target do
      [] ->
        publish(options.cluster, channel, message)

      pid when is_pid(pid) ->
        Kernel.send(pid, message)
        :ok

      name ->
        if pid = Process.whereis(name), do: Kernel.send(pid, message)
        :ok
    end
  end

  # Subscribers can be told the context; a process gets its message as it was sent.
  def send(channel, {node, []}, message, options),
    do: queue(channel, node, [], InContext.wrap(message), options)

  def send(channel, {node, target}, message, options), do: queue(channel, node, target, message, options)

  defp queue(channel, node, target, message, options) do
    case Fabric.handle(options.cluster) do
      nil ->
        {:error, :not_running}

      handle ->
        with again when again in [:dirty, {:error, :busy}] <-
               try_plain(handle, channel, node, target, message, options),
             true <- again == :dirty or options.timeout != 0 || again,
             do: try_send(handle, channel, node, target, message, options, deadline(options.timeout))
    end
  end

  defp try_plain(handle, channel, node, target, message, %{ack: false, key: nil, from: from})
       when from == self(),
       do: Native.fabric_send(handle, channel, node, target, message)

  defp try_plain(_handle, _channel, _node, _target, _message, _options), do: :dirty

  defp publish(scope, channel, message) do
    case Fabric.handle(scope) do
      nil ->
        {:error, :not_running}

      handle ->
        InContext.publish(handle, channel, node(), InContext.wrap(message))
    end
  end

  defp try_send(handle, channel, node, target, message, options, deadline) do
    reference = if options.ack, do: make_ref()
    extra = {options.from, reference, options.key}

    answer =
      with :dirty <- Native.fabric_send_with(handle, channel, node, target, message, extra),
           do: Native.fabric_send_large(handle, channel, node, target, message, extra)

    case answer do
      {:ok, number} ->
        await(handle, reference, number, deadline)

      {:error, :busy} ->
        with :ok <- await_room(handle, channel, node, options.from, deadline),
             do: try_send(handle, channel, node, target, message, options, deadline)

      other ->
        other
    end
  end

  @doc "Waits until half of the queue is free: `:ok`, or `{:error, :busy}` at the deadline."
  def await_room(handle, channel, node, flow, deadline) do
    reference = make_ref()

    with true <- left(deadline) != 0 || {:error, :busy},
         {:ok, number} <- Native.fabric_await_room(handle, channel, node, flow, reference) do
      case await(handle, reference, number, deadline) do
        :room -> :ok
        {:error, :timeout} -> {:error, :busy}
        other -> other
      end
    else
      :room -> :ok
      {:error, reason} -> {:error, reason}
    end
  end

  @doc "Waits for what comes under the reference; after the deadline nothing comes any more."
  def await(handle, reference, number, deadline, cancel \\ fn -> :ok end) do
    receive do
      {^reference, answer} -> answer
    after
      left(deadline) ->
        if Native.fabric_forget(handle, number) do
          cancel.()
          {:error, :timeout}
        else
          # It was taken out to be answered just now.
          receive do
            {^reference, answer} -> answer
          after
            1_000 -> {:error, :timeout}
          end
        end
    end
  end

  @doc "The time at which a timeout ends."
  def deadline(:infinity), do: :infinity
  def deadline(ms), do: System.monotonic_time(:millisecond) + ms

  @doc "Milliseconds left until the deadline."
  def left(:infinity), do: :infinity
  def left(deadline), do: max(deadline - System.monotonic_time(:millisecond), 0)
end
