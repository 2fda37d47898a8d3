defmodule Foundation.Distributed.Work.Checkpoint do
  @moduledoc false
  # What a job has come to so far, in the coordination group: results by item, in numbered batches. Who holds the job's lock
  # coordinates it. A batch is written only where none of that number is, so that of two who both think they coordinate,
  # one finds that it does not, and no item ever gets a second result.

  alias Foundation.Distributed.{Consensus, Coordination}
  alias Foundation.Distributed.Coordination.{Formation, Object}

  # One wait for the lock; then it is asked for again, as its keeper may have started anew.
  @wait_ms 10_000
  # These pass.
  @again [:timeout, :no_leader, :unknown, :busy]
  @again_ms 100
  @items_hash 4_294_967_296

  @enforce_keys [:group, :job]
  defstruct [:group, :job, next: 0, results: %{}]

  @type index :: non_neg_integer
  @type result :: {:ok, term} | {:error, term}
  @type t :: %__MODULE__{
          group: Consensus.group(),
          job: term,
          next: non_neg_integer,
          results: %{index => result}
        }

  @doc """
  Calls the function with what is recorded of a job, while nobody else coordinates it, until it gives something else than
  `{:error, :superseded}`.
  """
  @spec run(%{index => term}, map, (t -> {:ok, term} | {:error, term})) :: {:ok, term} | {:error, term}
  def run(items, %{job: job, group: group}, function) do
    with :ok <- Formation.ensure(group),
         :ok <- planned(group, job, {map_size(items), :erlang.phash2(items, @items_hash)}),
         do: hold(%__MODULE__{group: group, job: job}, function)
  end

  # All who run a job run the same items.
  defp planned(group, job, plan) do
    case Consensus.propose(group, {:put, key(job, :plan), plan, :absent}) do
      {:ok, _version} -> :ok
      {:error, {:conflict, _version, ^plan}} -> :ok
      {:error, {:conflict, _version, _other}} -> {:error, :other_items}
      # It is there, or is not yet.
      {:error, :unknown} -> planned(group, job, plan)
      {:error, reason} -> {:error, reason}
    end
  end

  defp hold(empty, function) do
    work = fn -> with {:ok, checkpoint} <- load(empty), do: function.(checkpoint) end

    case Coordination.with_lock(lock(empty), [timeout: @wait_ms], work) do
      {:ok, {:error, :superseded}} -> hold(empty, function)
      {:ok, {:error, {:not_loaded, reason}}} when reason in @again -> hold(empty, function)
      {:ok, {:error, {:not_loaded, reason}}} -> {:error, reason}
      {:ok, answer} -> answer
      {:error, reason} when reason in @again -> hold(empty, function)
      {:error, reason} -> {:error, reason}
    end
  end

  defp lock(%{group: group, job: job}), do: %Object{kind: :lock, name: {:work, job}, group: group}

  defp load(%{next: next} = checkpoint) do
    case Consensus.get_value(checkpoint.group, key(checkpoint.job, next), []) do
      {:ok, batch} ->
        load(%{checkpoint | next: next + 1, results: Map.merge(checkpoint.results, batch)})

      {:error, :not_found} ->
        {:ok, checkpoint}

      {:error, reason} ->
        {:error, {:not_loaded, reason}}
    end
  end

  @doc "Records results: they count from now on. `{:error, :superseded}`: another one coordinates, and they do not."
  @spec record(t, %{index => result}) :: {:ok, t} | {:error, :superseded | term}
  def record(%{next: next} = checkpoint, batch) do
    case Consensus.propose(checkpoint.group, {:put, key(checkpoint.job, next), batch, :absent}) do
      {:ok, _version} -> {:ok, %{checkpoint | next: next + 1}}
      # An earlier try of ours, or another's.
      {:error, {:conflict, _version, ^batch}} -> {:ok, %{checkpoint | next: next + 1}}
      {:error, {:conflict, _version, _other}} -> {:error, :superseded}
      {:error, :too_large} when map_size(batch) > 1 -> halves(checkpoint, batch)
      {:error, reason} when reason in @again -> again(checkpoint, batch)
      {:error, reason} -> {:error, reason}
    end
  end

  # A side without a majority loses the lock by and by.
  defp again(checkpoint, batch) do
    receive do
      {:foundation_lost, :lock, _name, _token, _reason} -> {:error, :superseded}
    after
      @again_ms -> record(checkpoint, batch)
    end
  end

  defp halves(checkpoint, batch) do
    {one, other} = batch |> Enum.sort() |> Enum.split(div(map_size(batch), 2))
    with {:ok, checkpoint} <- record(checkpoint, Map.new(one)), do: record(checkpoint, Map.new(other))
  end

  @doc "Forgets a job that nobody runs."
  @spec forget(Consensus.group(), term) :: :ok | {:error, term}
  def forget(group, job) do
    checkpoint = %__MODULE__{group: group, job: job}

    with :ok <- Formation.ensure(group),
         {:ok, result} <- Coordination.with_lock(lock(checkpoint), [wait: false], fn -> erase(checkpoint) end) do
      result
    else
      {:error, :taken} -> {:error, :running}
      {:error, reason} -> {:error, reason}
    end
  end

  # The plan last: until then it is the same job.
  defp erase(checkpoint) do
    with {:ok, %{next: next}} <- load(checkpoint) do
      numbers = if next == 0, do: [], else: Enum.to_list((next - 1)..0)

      Enum.reduce_while(numbers ++ [:plan], :ok, fn number, :ok ->
        case Consensus.propose(checkpoint.group, {:delete, key(checkpoint.job, number)}) do
          {:ok, _} -> {:cont, :ok}
          {:error, {:conflict, _, _}} -> {:cont, :ok}
          {:error, reason} -> {:halt, {:error, reason}}
        end
      end)
    end
  end

  defp key(job, part), do: {:work, job, part}
end
