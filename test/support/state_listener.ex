defmodule Foundation.StateListener do
  @moduledoc false
  # Keeps what a state tells its subscribers, as a gen_event handler, which any node can start by name.

  @behaviour :gen_event

  @impl true
  def init(_), do: {:ok, []}

  @impl true
  def handle_event(_event, told), do: {:ok, told}

  @impl true
  def handle_call(:all, told), do: {:ok, told, told}

  @impl true
  def handle_info({:foundation_state, name, diffs}, told), do: {:ok, [{name, diffs} | told]}
  def handle_info(_other, told), do: {:ok, told}
end
