defmodule Foundation.MABEAM.Comms.Topics do
  @moduledoc false
  # Which agents of this node listen to which topics.

  @table Foundation.MABEAM.Comms.Topics

  def create, do: :ets.new(@table, [:named_table, :public, :bag, read_concurrency: true])

  @spec listen(term, term) :: true
  def listen(topic, id), do: :ets.insert(@table, {topic, id})

  @spec leave(term, term) :: true
  def leave(topic, id), do: :ets.delete_object(@table, {topic, id})

  @spec leave_all(term) :: true
  def leave_all(id), do: :ets.match_delete(@table, {:_, id})

  @spec listeners(term) :: [term]
  def listeners(topic), do: for({_topic, id} <- :ets.lookup(@table, topic), do: id)
end
