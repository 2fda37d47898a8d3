defmodule Foundation.Events.Subscription do
  @moduledoc """
  Names a subscription to stored events: what `Foundation.Events.subscribe/2` gives.

  `ref` is in the messages `{:foundation_events, ref, :ready}` that tell its owner that events wait.
  """

  alias Foundation.Engine
  alias Foundation.Events.Query
  alias Foundation.Native
  alias Foundation.Types.Event

  @enforce_keys [:ref, :id, :handle]
  @derive {Inspect, only: [:ref, :id]}
  defstruct [:ref, :id, :handle]

  @type t :: %__MODULE__{ref: reference, id: pos_integer, handle: reference}

  @defaults [policy: :drop_oldest, max_queue: 1_000, block_timeout: 1_000, pid: nil]
  @policies [:drop_oldest, :drop_newest, :block]
  @max_queue 1_000_000
  @max_block 60_000

  @doc false
  @spec start(term, keyword) :: {:ok, t} | {:error, term}
  def start(filter, opts) do
    with {:ok, opts} <- options(opts),
         {:ok, where} <- Query.encode_condition(where(filter)),
         handle when handle != nil <- Engine.handle(:events) do
      ref = make_ref()
      pid = opts[:pid] || self()

      options = {opts[:policy], opts[:max_queue], opts[:block_timeout]}

      case Native.events_subscribe(handle, where, options, pid, ref) do
        id when is_integer(id) -> {:ok, %__MODULE__{ref: ref, id: id, handle: handle}}
        {:error, _} = error -> error
      end
    else
      nil -> {:error, :not_running}
      error -> error
    end
  end

  @doc false
  @spec take(t, pos_integer) :: {:ok, [Event.t()], non_neg_integer} | {:error, :not_subscribed}
  def take(%__MODULE__{handle: handle, id: id}, max) when is_integer(max) and max > 0 do
    case Native.events_take(handle, id, min(max, 10_000)) do
      nil -> {:error, :not_subscribed}
      taken -> taken
    end
  end

  @doc false
  @spec stop(t) :: :ok
  def stop(%__MODULE__{handle: handle, id: id, ref: ref}) do
    Native.events_unsubscribe(handle, id)
    flush(ref)
  end

  defp flush(ref) do
    receive do
      {:foundation_events, ^ref, :ready} -> flush(ref)
    after
      0 -> :ok
    end
  end

  defp where([{:where, where}]), do: where
  defp where(%{where: where} = filter) when map_size(filter) == 1, do: where
  defp where(where), do: where

  defp options(opts) do
    with :ok <- known(opts) do
      opts = Keyword.merge(@defaults, opts)

      cond do
        opts[:policy] not in @policies ->
          bad(:policy, opts, "one of #{inspect(@policies)}")

        opts[:max_queue] not in 1..@max_queue ->
          bad(:max_queue, opts, "from 1 to #{@max_queue}")

        opts[:block_timeout] not in 0..@max_block ->
          bad(:block_timeout, opts, "milliseconds up to #{@max_block}")

        not local?(opts[:pid]) ->
          bad(:pid, opts, "a process of this node")

        true ->
          {:ok, opts}
      end
    end
  end

  defp local?(nil), do: true
  defp local?(pid), do: is_pid(pid) and node(pid) == node()

  defp known(opts) do
    case Keyword.keys(opts) -- Keyword.keys(@defaults) do
      [] -> :ok
      [option | _] -> {:error, {:invalid_option, "there is no option #{inspect(option)}"}}
    end
  end

  defp bad(name, opts, wanted),
    do: {:error, {:invalid_option, "#{name}: is #{wanted}, got: #{inspect(opts[name])}"}}
end
