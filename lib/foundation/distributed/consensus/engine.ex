defmodule Foundation.Distributed.Consensus.Engine do
  @moduledoc false
  # Owns the native engine: one log and one tick for all groups of this node. The handle is found in persistent_term.

  use GenServer

  alias Foundation.Distributed.Consensus.{Options, Sender}
  alias Foundation.Distributed.Fabric
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

  @doc """
  Has frames go by the fabric, where one runs and knows the other node, straight from the library's threads to those of the
  other node. For whoever finds that they do not. O(1) when nothing is to be done.
  """
  @spec attach() :: :ok
  def attach do
    with fabric when fabric != nil <- Fabric.handle(),
         true <- :persistent_term.get({@key, :fabric}, nil) != fabric,
         engine when engine != nil <- handle() do
      :persistent_term.put({@key, :fabric}, fabric)
      Native.consensus_attach(engine, fabric)
    end

    :ok
  end

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
        :persistent_term.erase({@key, :fabric})
        attach()
        {:ok, handle}

      {:error, reason} ->
        {:stop, reason}
    end
  end

  @impl true
  def terminate(_reason, handle) do
    :persistent_term.erase(@key)
    :persistent_term.erase({@key, :fabric})
    Native.consensus_stop(handle)
  end
end
