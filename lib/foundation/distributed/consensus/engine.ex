defmodule Foundation.Distributed.Consensus.Engine do
  @moduledoc false
  # Owns the native engine: one log and one tick for all groups of this node. The handle is found in persistent_term.

  use GenServer

  alias Foundation.Distributed.Consensus.{Options, Sender}
  alias Foundation.Native

  @key :foundation_consensus

  def start_link(options), do: GenServer.start_link(__MODULE__, options, name: __MODULE__)

  @doc "The engine's handle, or nil. O(1), no copy."
  @spec handle() :: reference | nil
  def handle, do: :persistent_term.get(@key, nil)

  @doc """
  The name of this node among members: the node's, followed by a number of this life of it when nothing is kept on disk,
  for then it has forgotten what it promised, and comes back as another member.
  """
  @spec me() :: String.t()
  def me, do: :persistent_term.get({@key, :me}, Atom.to_string(node()))

  @doc "The node of a member."
  @spec node_of(String.t()) :: node
  def node_of(member), do: member |> String.split("#") |> hd() |> String.to_atom()

  @impl true
  def init(given) do
    Process.flag(:trap_exit, true)
    options = Options.engine(given)
    # What an engine left behind that was killed still holds the log.
    if old = handle(), do: Native.consensus_stop(old)

    case Native.consensus_start(options, Process.whereis(Sender)) do
      {:ok, handle} ->
        :persistent_term.put(@key, handle)
        :persistent_term.put({@key, :me}, options.me)
        {:ok, handle}

      {:error, reason} ->
        {:stop, reason}
    end
  end

  @impl true
  def terminate(_reason, handle) do
    :persistent_term.erase(@key)
    Native.consensus_stop(handle)
  end
end
