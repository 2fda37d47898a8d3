defmodule Foundation.Infrastructure.Limits.Ticket do
  @moduledoc """
  Stands for a place in a key's queue, as `Foundation.Infrastructure.Limits.request/3` gives it.

  The answer comes to `pid` as a message; `Foundation.Infrastructure.Limits.await_ticket/1` receives it, and
  `cancel/1` there, from any process of this node, gives the place up.
  """

  @enforce_keys [:key, :pid, :tag, :ref]
  defstruct [:key, :pid, :tag, :ref]

  @type t :: %__MODULE__{key: term, pid: pid, tag: reference, ref: reference}
end
