defmodule Foundation.Distributed.Consensus.Ask do
  @moduledoc false
  # Hands something to a group and waits for the answer, which the library sends within the time given.

  alias Foundation.Distributed.Consensus.{Codec, Roster}
  alias Foundation.Native

  # The library keeps the time; this is for its own delay.
  @grace_ms 5_000

  @doc "Proposes to a group with a machine of the user's."
  @spec propose(atom | binary, term, pos_integer, Native.consensus_id()) :: {:ok, term} | {:error, term}
  def propose(group, command, timeout, id) do
    with {:ok, handle} <- Roster.handle(group) do
      command = Codec.encode(command)
      reference = make_ref()

      with :dirty <- Native.consensus_propose(handle, reference, command, timeout, id),
           do: Native.consensus_propose_large(handle, reference, command, timeout, id)

      with {:ok, reply} <- await(reference, timeout, :unknown), do: Codec.decode(reply)
    end
  end

  @doc "Asks the machine of the user's."
  @spec read(atom | binary, term, Native.consensus_level(), pos_integer) :: {:ok, term} | {:error, term}
  def read(group, query, level, timeout) do
    case Roster.find(group) do
      {:ok, :process, handle, pid} ->
        if level == :local,
          do: machine(pid, query, timeout),
          else: through(handle, query, level, timeout)

      {:ok, :coordination, handle, _pid} ->
        through(handle, query, level, timeout)

      error ->
        error
    end
  end

  # The process that runs the machine is on this node.
  defp machine(pid, query, timeout) do
    GenServer.call(pid, {:query, query}, timeout)
  catch
    :exit, {:timeout, _} -> {:error, :timeout}
    :exit, _ -> {:error, :stopped}
  end

  defp through(handle, query, level, timeout) do
    reference = make_ref()

    with :ok <- Native.consensus_read(handle, reference, Codec.encode(query), level, timeout),
         {:ok, answer} <- await(reference, timeout, :timeout),
         do: Codec.decode(answer)
  end

  @doc "A command of the coordination machine, and its reply."
  @spec command(atom | binary, tuple, pos_integer, Native.consensus_id()) :: term
  def command(group, command, timeout, id \\ nil) do
    with {:ok, handle} <- Roster.handle(group),
         reference = make_ref(),
         :ok <- Native.consensus_coordinate(handle, reference, command, timeout, id),
         do: await(reference, timeout, :unknown)
  end

  @doc "A question to the coordination machine: `{:ok, answer}`, nil when there is nothing."
  @spec query(atom | binary, tuple, Native.consensus_level(), pos_integer) :: {:ok, term} | {:error, term}
  def query(group, query, level, timeout) do
    with {:ok, handle} <- Roster.handle(group) do
      reference = make_ref()

      case Native.consensus_ask(handle, reference, query, level, timeout) do
        {:now, answer} -> answer
        :ok -> await(reference, timeout, :timeout)
      end
    end
  end

  @doc "A change of members or leader."
  @spec change(atom | binary, tuple | :snapshot, pos_integer) :: :ok | {:error, term}
  def change(group, change, timeout) do
    with {:ok, handle} <- Roster.handle(group),
         reference = make_ref(),
         :ok <- Native.consensus_change(handle, reference, change, timeout),
         do: await(reference, timeout, :unknown)
  end

  defp await(reference, timeout, late) do
    receive do
      {^reference, answer} -> answer
    after
      timeout + @grace_ms -> {:error, late}
    end
  end
end
