defmodule Foundation.MABEAM.Coordination.Market.Durable do
  @moduledoc false
  # A market that the replicas keep (Foundation.MABEAM.Replicas): what is asked of it is a command, or a question, to their
  # machine.

  alias Foundation.MABEAM.Coordination.Market.Order
  alias Foundation.MABEAM.{Replicas, Types}

  @fields [:agent, :side, :type, :price, :quantity]

  @spec create(String.t(), :continuous | :call, map) :: :ok | {:error, term}
  def create(id, kind, opts) do
    # A struct of this version of the library has no place in the machine's log.
    if Replicas.nodes(),
      do: command({:create, id, kind, Map.from_struct(opts)}, nil),
      else: {:error, :no_replicas}
  end

  @spec kind(String.t()) :: {:ok, atom} | {:error, term}
  def kind(id), do: question({:kind, id})

  @doc "What a market's own process would be asked."
  @spec ask(map, term, term) :: term
  def ask(market, request, once \\ nil)

  # What is no order does not get into the log.
  def ask(market, {:submit, order}, once) do
    order = if is_map(order), do: Map.take(order, @fields), else: order

    if is_map(order) and Types.serialisable?(order),
      do: command({:submit, market.id, order}, once),
      else: Order.invalid(order)
  end

  def ask(market, {:cancel, agent, id}, _once) do
    if Types.agent_id?(agent) and is_integer(id),
      do: command({:cancel, market.id, agent, id}, nil),
      else: {:error, :not_found}
  end

  def ask(market, {:replace, agent, id, change}, _once) do
    change = if is_map(change), do: Map.take(change, [:price, :quantity]), else: change

    if Types.agent_id?(agent) and is_integer(id) and Types.serialisable?(change),
      do: command({:replace, market.id, agent, id, change}, nil),
      else: {:error, :not_found}
  end

  def ask(market, :clear, once), do: command({:clear, market.id}, once)
  def ask(market, :end, _once), do: command({:end, market.id}, nil)
  def ask(market, {:order, id}, _once) when is_integer(id), do: question({:order, market.id, id})
  def ask(_market, {:order, _id}, _once), do: {:error, :not_found}
  def ask(market, {:depth, levels}, _once), do: question({:depth, market.id, levels})
  def ask(_market, _other, _once), do: {:error, :unsupported}

  defp command(command, id),
    do: if(Replicas.nodes(), do: Replicas.command(:markets, command, id), else: {:error, :no_replicas})

  defp question(question),
    do: if(Replicas.nodes(), do: Replicas.query(:markets, question), else: {:error, :no_replicas})
end
