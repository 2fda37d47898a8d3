defmodule Foundation.Config.Shared.Store do
  @moduledoc false
  # The ledger in the coordination group: read by consensus, and changed only from the version that the change was made
  # of, so that what was checked is what is committed.

  alias Foundation.Config.Shared.Ledger
  alias Foundation.Distributed.Consensus
  alias Foundation.Distributed.Consensus.{Codec, Roster}
  alias Foundation.Distributed.Coordination.{Formation, Keeper}

  @key :foundation_config

  @type group :: Consensus.group()

  @doc "The ledger, and the version of its key, 0 when there is none yet."
  @spec fetch(group, :linearizable | :lease | :local, pos_integer) ::
          {:ok, Ledger.t(), non_neg_integer} | {:error, term}
  def fetch(group, consistency, timeout) do
    with :ok <- Formation.ensure(group) do
      case Consensus.get_value(group, @key, consistency: consistency, version: true, timeout: timeout) do
        {:ok, packed, version} -> with {:ok, ledger} <- Ledger.unpack(packed), do: {:ok, ledger, version}
        {:error, :not_found} -> {:ok, Ledger.new(), 0}
        {:error, reason} -> {:error, reason}
      end
    end
  end

  @doc """
  Changes the ledger by a function that gives `{:ok, ledger}`, `:same` or an error; it is called again with the newer
  ledger when another node was first. `{:error, :unknown}`: the change may have been made.
  """
  @spec update(group, pos_integer, (Ledger.t() -> {:ok, Ledger.t()} | :same | {:error, term})) ::
          {:ok, Ledger.t()} | {:error, term}
  def update(group, timeout, function) do
    deadline = now() + timeout

    with {:ok, ledger, version} <- fetch(group, :linearizable, timeout),
         do: change(group, ledger, version, function, deadline)
  end

  defp change(group, ledger, version, function, deadline) do
    case {function.(ledger), deadline - now()} do
      {:same, _left} -> {:ok, ledger}
      {{:error, _} = error, _left} -> error
      # Nothing was proposed that could still be applied.
      {{:ok, _changed}, left} when left <= 0 -> {:error, :timeout}
      {{:ok, changed}, left} -> propose(group, changed, version, function, deadline, left)
    end
  end

  defp propose(group, changed, version, function, deadline, left) do
    expected = if version == 0, do: :absent, else: version

    case Consensus.propose(group, {:put, @key, Ledger.pack(changed), expected}, timeout: left) do
      {:ok, _version} ->
        {:ok, changed}

      {:error, {:conflict, newer, packed}} ->
        with {:ok, ledger} <- unpack(packed), do: change(group, ledger, newer, function, deadline)

      {:error, reason} ->
        {:error, reason}
    end
  end

  defp unpack(nil), do: {:ok, Ledger.new()}
  defp unpack(packed), do: Ledger.unpack(packed)

  @doc """
  Sends the calling process `{:foundation_value, :config, version, {:ok, packed} | :deleted}` with each change that this
  node learns of: the process that tells it, which is to be monitored.
  """
  @spec watch(group) :: {:ok, pid} | {:error, term}
  def watch(group) do
    with :ok <- Formation.ensure(group),
         {:ok, :coordination, _handle, keeper} <- Roster.find(group),
         :ok <- Keeper.watch(keeper, :value, Codec.name({:key, @key}), :config) do
      {:ok, keeper}
    else
      {:ok, :process, _handle, _pid} -> {:error, :no_coordination}
      error -> error
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
