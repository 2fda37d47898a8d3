defmodule Foundation.Distributed.State.Structure do
  @moduledoc false
  # The native structure of each replica of this node, and what callers need to use it. It belongs to the VM and outlives the
  # process that made it, until it is released.

  alias Foundation.Distributed.State.Wire
  alias Foundation.Native

  @doc "What callers need of a running replica; nil when there is none. O(1), no copy."
  def reference(name), do: :persistent_term.get(key(name), nil)

  defp key(name), do: {Foundation.Distributed.State, name}

  @doc "That of an earlier life of the process when it is the same, or a new one, and what its journal brought."
  def obtain(name, type, options) do
    case reference(name) do
      %{type: ^type, shards: shards, durable: durable} = kept
      when shards == options.shards and durable == options.durable ->
        {:ok, kept, nil}

      nil ->
        create(name, type, options)

      _another ->
        release(name)
        create(name, type, options)
    end
  end

  @doc "Forgets it. Callers that are on their way are answered that its journal is closed."
  def release(name) do
    with %{handle: handle} <- reference(name) do
      :persistent_term.erase(key(name))
      Native.crdt_close(handle)
    end

    :ok
  end

  # A new life has a new id, so that none of its writes can be taken for one of an earlier life that was lost.
  defp create(name, type, options) do
    <<id::64>> = :crypto.strong_rand_bytes(8)
    bounds = {options.max_keys, options.max_bytes, options.max_drift}

    with {:ok, handle} <- Native.crdt_new(type, id, options.shards, bounds),
         {:ok, recovered} <- recover(handle, options.durable) do
      kept = %{
        handle: handle,
        id: id,
        type: type,
        shards: options.shards,
        process: Wire.process(name),
        level: options.level,
        durable: options.durable
      }

      :persistent_term.put(key(name), kept)
      {:ok, kept, recovered}
    end
  end

  defp recover(_handle, nil), do: {:ok, nil}

  defp recover(handle, %{dir: dir, sync: sync}) do
    with :ok <- File.mkdir_p(dir),
         do: Native.crdt_open_journal(handle, Path.expand(dir), sync)
  end
end
