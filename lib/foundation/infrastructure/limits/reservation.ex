defmodule Foundation.Infrastructure.Limits.Reservation do
  @moduledoc """
  Stands for budget that was taken for a call and is settled after it.

  Made by `Foundation.Infrastructure.Limits.reserve/3`, settled by `commit/2` or `refund/1` there. It belongs to the
  process that reserved (or the one given as `owner:`): when that process ends, or the time is up, what is not settled
  goes back. It may be settled from any process of this node.
  """

  @enforce_keys [:key, :ref]
  defstruct [:key, :ref]

  @type t :: %__MODULE__{key: term, ref: reference}
end
