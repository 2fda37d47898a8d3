defmodule Foundation.Distributed.Fabric.Scope do
  @moduledoc false
  # Which of this node's clusters is meant. The main one, whose fabric is `config :foundation, fabric:`, is nil here, and
  # its processes have their modules' names; those of another cluster have that cluster's name behind it.

  alias Foundation.Distributed.{Clusters, Discovery, Fabric}

  @main {Fabric, :main}

  # What other nodes send to by name. In a cluster beside the main one the names mean that cluster's processes, and
  # other names of this library nobody.
  @addressed [Fabric.Relay, Discovery, Clusters.Member, Clusters.Roll]

  @type t :: atom | nil

  @doc "The scope that an option `:cluster` means; raises ArgumentError. O(1)."
  @spec of(term) :: t
  def of(nil), do: nil

  def of(cluster) when is_atom(cluster) and not is_boolean(cluster),
    do: if(:persistent_term.get(@main, nil) == cluster, do: nil, else: cluster)

  def of(other),
    do: raise(ArgumentError, "cluster is the name of a cluster, an atom, got: #{inspect(other)}")

  @doc "Takes the option `:cluster` out of a list: its scope and the others."
  @spec pop(keyword) :: {t, keyword}
  def pop(options) do
    {cluster, options} = Keyword.pop(options, :cluster)
    {of(cluster), options}
  end

  @doc "The main cluster's name, while its fabric runs, or nil."
  @spec main() :: atom | nil
  def main, do: :persistent_term.get(@main, nil)

  @doc "Says what the main cluster is called, or (nil) that there is none."
  @spec put_main(atom | nil) :: :ok
  def put_main(nil) do
    :persistent_term.erase(@main)
    :ok
  end

  def put_main(name), do: :persistent_term.put(@main, name)

  @doc "The name of that module's process (or table) in a cluster."
  @spec process(t, module) :: atom
  def process(nil, module), do: module
  def process(cluster, module), do: :"#{module}.#{cluster}"

  @doc "What the library's names mean here, for the native library; nil: what they are."
  @spec names(t) :: [{atom, atom}] | nil
  def names(nil), do: nil
  def names(cluster), do: Enum.map(@addressed, &{&1, process(cluster, &1)})

  @doc "The registered process that another node of that cluster means by a name."
  @spec whereis(t, atom) :: pid | nil
  def whereis(nil, name), do: Process.whereis(name)

  def whereis(cluster, name) do
    cond do
      name in @addressed -> Process.whereis(process(cluster, name))
      match?("Elixir.Foundation." <> _, Atom.to_string(name)) -> nil
      true -> Process.whereis(name)
    end
  end
end
