defmodule Foundation.Distributed.Coordination.Grant do
  @moduledoc """
  Says what a process holds: a lock, permits, a place in a barrier, a value of a queue, a candidacy.

  `token` is the fencing token: it grows with every grant of the group. Whoever writes what the lock protects sends it
  along, and what is written to refuses a token smaller than one it has seen; a holder that was presumed dead then does no
  harm.

  No function here calls the native library.
  """

  @enforce_keys [:kind, :name, :group, :hold]
  defstruct [:kind, :name, :group, :hold, :token]

  @type t :: %__MODULE__{
          kind: :lock | :rw_lock | :semaphore | :barrier | :double_barrier | :queue | :election,
          name: term,
          group: atom | String.t(),
          hold: {non_neg_integer, non_neg_integer} | non_neg_integer,
          token: non_neg_integer | nil
        }
end
