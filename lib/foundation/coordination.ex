defmodule Foundation.Coordination do
  @moduledoc """
  Coordinates nodes by locks, elections, barriers, semaphores, counters, sequences and queues: another name for
  `Foundation.Distributed.Coordination`, which says all about them.

      {:ok, :done} = Foundation.Coordination.with_lock(:nightly_report, fn -> :done end)

  **Scheduling**: as `Foundation.Distributed.Coordination`.
  """

  alias Foundation.Distributed.{Consensus, Coordination}
  alias Foundation.Distributed.Coordination.{Grant, Object}

  @doc "See `Foundation.Distributed.Coordination.create_distributed_lock/2`."
  @spec create_distributed_lock(term, keyword) :: {:ok, term} | {:error, term}
  defdelegate create_distributed_lock(name, options \\ []), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.create_rw_lock/2`."
  @spec create_rw_lock(term, keyword) :: {:ok, term} | {:error, term}
  defdelegate create_rw_lock(name, options \\ []), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.create_semaphore/2`."
  @spec create_semaphore(term, pos_integer | keyword) :: {:ok, term} | {:error, term}
  defdelegate create_semaphore(name, permits), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.acquire/2`."
  @spec acquire(Object.t() | term, keyword) :: {:ok, term} | {:error, term}
  defdelegate acquire(object, options \\ []), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.release/1`."
  @spec release(Grant.t()) :: :ok | {:error, term}
  defdelegate release(grant), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.renew/2`."
  @spec renew(Grant.t(), non_neg_integer) :: :ok | {:error, term}
  defdelegate renew(grant, lease), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.held?/1`."
  @spec held?(Grant.t()) :: boolean
  defdelegate held?(grant), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.with_lock/3`."
  @spec with_lock(Object.t() | term, keyword, function) :: {:ok, term} | {:error, term}
  defdelegate with_lock(lock, options, function), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.with_lock/2`."
  @spec with_lock(Object.t() | term, function) :: {:ok, term} | {:error, term}
  defdelegate with_lock(lock, function), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.holders/2`."
  @spec holders(Object.t(), keyword) :: {:ok, term} | {:error, term}
  defdelegate holders(object, options \\ []), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.create_leader_election/2`."
  @spec create_leader_election(term, keyword) :: {:ok, term} | {:error, term}
  defdelegate create_leader_election(name, options \\ []), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.resign/1`."
  @spec resign(Grant.t()) :: :ok | {:error, term}
  defdelegate resign(candidacy), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.leader/2`."
  @spec leader(term, keyword) :: {:ok, term} | {:error, term}
  defdelegate leader(name, options \\ []), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.observe_leader/2`."
  @spec observe_leader(term, keyword) :: :ok | {:error, term}
  defdelegate observe_leader(name, options \\ []), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.create_barrier/2`."
  @spec create_barrier(term, pos_integer | keyword) :: {:ok, term} | {:error, term}
  defdelegate create_barrier(name, parties), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.await_barrier/2`."
  @spec await_barrier(Object.t(), pos_integer) :: {:ok, term} | {:error, term}
  defdelegate await_barrier(barrier, timeout \\ 5_000), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.leave_barrier/2`."
  @spec leave_barrier(Grant.t(), pos_integer) :: :ok | {:error, term}
  defdelegate leave_barrier(grant, timeout \\ 5_000), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.create_distributed_counter/2`."
  @spec create_distributed_counter(term, keyword) :: {:ok, term} | {:error, term}
  defdelegate create_distributed_counter(name, options \\ []), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.add/2`."
  @spec add(Object.t(), integer) :: {:ok, term} | {:error, term}
  defdelegate add(counter, by), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.increment/2`."
  @spec increment(Object.t(), integer) :: {:ok, term} | {:error, term}
  defdelegate increment(counter, by \\ 1), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.decrement/2`."
  @spec decrement(Object.t(), integer) :: {:ok, term} | {:error, term}
  defdelegate decrement(counter, by \\ 1), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.compare_and_set/3`."
  @spec compare_and_set(Object.t(), integer, integer) :: {:ok, term} | {:error, term}
  defdelegate compare_and_set(counter, expected, value), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.value/2`."
  @spec value(Object.t(), keyword) :: {:ok, term} | {:error, term}
  defdelegate value(counter, options \\ []), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.create_sequence/2`."
  @spec create_sequence(term, keyword) :: {:ok, term} | {:error, term}
  defdelegate create_sequence(name, options \\ []), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.next/2`."
  @spec next(Object.t(), pos_integer) :: {:ok, term} | {:error, term}
  defdelegate next(sequence, count \\ 1), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.create_queue/2`."
  @spec create_queue(term, pos_integer | keyword) :: {:ok, term} | {:error, term}
  defdelegate create_queue(name, capacity), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.push/2`."
  @spec push(Object.t(), term) :: :ok | {:error, term}
  defdelegate push(queue, value), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.take/2`."
  @spec take(Object.t(), keyword) :: {:ok, term, Grant.t()} | {:error, term}
  defdelegate take(queue, options \\ []), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.acknowledge/1`."
  @spec acknowledge(Grant.t()) :: :ok | {:error, term}
  defdelegate acknowledge(grant), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.pop/2`."
  @spec pop(Object.t(), keyword) :: {:ok, term} | {:error, term}
  defdelegate pop(queue, options \\ []), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.queue_status/2`."
  @spec queue_status(Object.t(), keyword) :: {:ok, term} | {:error, term}
  defdelegate queue_status(queue, options \\ []), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.delete/1`."
  @spec delete(Object.t()) :: :ok | {:error, term}
  defdelegate delete(object), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.create_consensus_group/3`."
  @spec create_consensus_group(Consensus.group(), [node], keyword) :: {:ok, term} | {:error, term}
  defdelegate create_consensus_group(name, nodes, options \\ []), to: Coordination

  @doc "See `Foundation.Distributed.Coordination.coordinate_distributed_task/3`."
  @spec coordinate_distributed_task(term, function, keyword) :: {:ok, term} | {:error, term}
  defdelegate coordinate_distributed_task(id, function, options \\ []), to: Coordination
end
