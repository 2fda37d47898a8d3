defmodule Foundation.Distributed.Coordination.Session do
  @moduledoc false
  # A node's session with a group, as a value: when it is to be kept alive, and until when it can be trusted.

  alias Foundation.Distributed.Consensus.Engine

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

  @doc """
  The sign of life that is to be proposed now: `{command, sign, session}`, of which `sign` is for `answered/3`, or
  `:nothing`.
  """
  def due(%{asked: asked}, _now) when asked != nil, do: :nothing

  def due(%{open: false, id: id, ttl: ttl} = session, now),
    do: {{:open, id, Engine.me(), ttl}, {:open, id, now}, %{session | asked: now}}

  def due(%{until: until, ttl: ttl, id: id} = session, now) do
    if until - now <= ttl * 3 / 4,
      do: {{:keep_alive, id}, {:keep_alive, id, now}, %{session | asked: now}},
      else: :nothing
  end

  @doc """
  What the answer to a sign of life says: `{:good, session}`, for longer now; `:ended`; `{:asked, session}`, it is to be
  asked again, or it was of another.
  """
  def answered(%{id: id} = session, {_kind, id, sent}, :ok),
    do: {:good, %{session | open: true, asked: nil, until: sent + session.ttl - @margin_ms}}

  def answered(%{id: id}, {:keep_alive, id, _sent}, {:error, :no_session}), do: :ended
  def answered(%{id: id} = session, {_kind, id, _sent}, _error), do: {:asked, %{session | asked: nil}}
  def answered(session, _of_another, _reply), do: {:asked, session}
end
