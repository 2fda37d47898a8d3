defmodule Foundation.MABEAM.Coordination.Market.Markets do
  @moduledoc false
  # The durable markets, as the replicas have them: each by its id. Pure.

  alias Foundation.MABEAM.Coordination.Market.{Call, Orders}

  @most 10_000

  @type t :: %{String.t() => Orders.t() | Call.t()}
  @type command ::
          {:create, String.t(), :continuous | :call, map}
          | {:end, String.t()}
          | {:submit, String.t(), order :: term}
          | {:cancel, String.t(), agent :: term, id :: term}
          | {:replace, String.t(), agent :: term, id :: term, change :: term}
          | {:clear, String.t()}
  @type question :: {:kind, String.t()} | {:order, String.t(), term} | {:depth, String.t(), pos_integer}

  @spec new() :: t
  def new, do: %{}

  @spec apply(t, command) :: {term, t}
  def apply(markets, {:create, _id, _kind, _opts}) when map_size(markets) >= @most,
    do: {{:error, :busy}, markets}

  def apply(markets, {:create, id, kind, opts}), do: {:ok, Map.put_new(markets, id, inside(kind, opts))}
  def apply(markets, {:end, id}), do: {:ok, Map.delete(markets, id)}

  def apply(markets, command) do
    with {:ok, inside} <- Map.fetch(markets, elem(command, 1)),
         {:ok, answer, inside} <- change(inside, command) do
      {{:ok, answer}, Map.put(markets, elem(command, 1), inside)}
    else
      :error -> {{:error, :not_found}, markets}
      {:error, reason} -> {{:error, reason}, markets}
    end
  end

  defp inside(:continuous, opts), do: Orders.new(opts)
  defp inside(:call, opts), do: %Call{most: opts.max_orders}

  defp change(%module{} = inside, {:submit, _id, order}), do: module.submit(inside, order)
  defp change(%module{} = inside, {:cancel, _id, agent, order}), do: module.cancel(inside, agent, order)

  defp change(%Orders{} = inside, {:replace, _id, agent, order, change}),
    do: Orders.replace(inside, agent, order, change)

  defp change(%Call{} = inside, {:clear, _id}), do: Call.clear(inside)
  defp change(_inside, _other), do: {:error, :unsupported}

  @spec read(t, question) :: term
  def read(markets, question) do
    case Map.fetch(markets, elem(question, 1)) do
      {:ok, inside} -> answer(inside, question)
      :error -> {:error, :not_found}
    end
  end

  defp answer(%Orders{}, {:kind, _id}), do: {:ok, :continuous}
  defp answer(%Call{}, {:kind, _id}), do: {:ok, :call}
  defp answer(%module{} = inside, {:order, _id, order}), do: module.order(inside, order)
  defp answer(%module{} = inside, {:depth, _id, levels}), do: module.depth(inside, levels)
end
