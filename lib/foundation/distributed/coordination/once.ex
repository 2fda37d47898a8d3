defmodule Foundation.Distributed.Coordination.Once do
  @moduledoc false
  # A task that runs once for all who ask: under the lock of its name, unless its result is recorded under that name.

  alias Foundation.Distributed.Consensus
  alias Foundation.Distributed.Coordination.Object

  @doc "`locked` runs a function of the grant while it holds the lock, as `with_lock/3` does."
  @spec run(Object.t(), function, ((term -> term) -> {:ok, term} | {:error, term})) ::
          {:ok, term} | {:error, term}
  def run(%Object{group: group, name: key}, function, locked) do
    with {:error, :not_found} <- Consensus.get_value(group, key, []),
         {:ok, outcome} <- locked.(&first(group, key, function, &1)),
         do: outcome
  end

  # Another may have been the first meanwhile.
  defp first(group, key, function, grant) do
    with {:error, :not_found} <- Consensus.get_value(group, key, []) do
      result = if is_function(function, 1), do: function.(grant), else: function.()

      case Consensus.propose(group, {:put, key, result, :absent}) do
        {:ok, _version} -> {:ok, result}
        {:error, {:conflict, _version, recorded}} -> {:ok, recorded}
        {:error, reason} -> {:error, reason}
      end
    end
  end
end
