defmodule Foundation.Distributed.Coordination.Session do
  @moduledoc false
  # A node's session with a group, as a value: when it is to be kept alive, and until when it can be trusted.

  # What clocks that run unevenly may differ by.
  @margin_ms 50

  @doc "A session that has not begun."
  def new(ttl), do: %{id: identity(), ttl: ttl, open: false, asked: nil, until: nil, began: false}

  @doc "The one after it."
  def next(%{ttl: ttl}), do: new(ttl)

  # Never used twice; zero is left out.
  defp identity, do: :rand.uniform(0xFFFFFFFFFFFFFFFF)

  @doc "Whether what is under it is held for certain."
  def good?(%{until: nil}, _now), do: false
  def good?(%{until: until}, now), do: now < until

  @doc "Whether it was good and is not any more."
  def lapsed?(%{open: true} = session, now), do: not good?(session, now)
  def lapsed?(_session, _now), do: false

  @doc "What is to be proposed now."
  def due(%{asked: asked}, _now) when asked != nil, do: :nothing
  def due(%{open: false} = session, now), do: {:open, %{session | asked: now}}

  def due(%{until: until, ttl: ttl} = session, now) do
    if until - now <= ttl * 3 / 4, do: {:keep_alive, %{session | asked: now}}, else: :nothing
  end

  @doc "A sign of life that was sent then has been confirmed."
  def confirmed(session, sent),
    do: %{session | open: true, asked: nil, until: sent + session.ttl - @margin_ms}

  @doc "A sign of life was not confirmed."
  def failed(session), do: %{session | asked: nil}
end
