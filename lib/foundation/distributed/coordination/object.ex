defmodule Foundation.Distributed.Coordination.Object do
  @moduledoc """
  Names something that nodes coordinate by: a lock, a semaphore, a counter and so on. Made by the `create_` functions of
  `Foundation.Distributed.Coordination`; a value, which can be sent to other nodes.

  No function here calls the native library.
  """

  @enforce_keys [:kind, :name, :group]
  defstruct [:kind, :name, :group, options: []]

  @type kind ::
          :lock
          | :rw_lock
          | :semaphore
          | :election
          | :barrier
          | :double_barrier
          | :counter
          | :sequence
          | :queue
  @type t :: %__MODULE__{kind: kind, name: term, group: atom | String.t(), options: keyword}
end
