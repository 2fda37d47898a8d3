defmodule Foundation.Mailbag do
  @moduledoc false
  # What an agent on another node does for a test: it holds a lock, and shows what it was sent.

  alias Foundation.Coordination

  def new, do: []
  def acquire(_state, name), do: Coordination.acquire(name, timeout: 10_000)

  # What an agent is sent it throws away, with a warning; so it is asked while it waits for it.
  def heard(_state) do
    receive do
      {:foundation_lost, _, _, _, _} = news -> [news]
    after
      5_000 -> []
    end
  end
end
