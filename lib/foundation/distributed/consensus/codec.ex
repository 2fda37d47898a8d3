defmodule Foundation.Distributed.Consensus.Codec do
  @moduledoc false
  # Terms in the log, and the names of groups and members.

  alias Foundation.Distributed.Consensus.Engine

  # The same bytes for the same term on every node.
  @name_format [:deterministic, minor_version: 2]

  @doc "A value, for the log."
  @spec encode(term) :: binary
  def encode(term), do: :erlang.term_to_binary(term)

  @doc "The value; its atoms come to be, for the log is of this cluster."
  @spec decode(binary) :: term
  def decode(binary), do: :erlang.binary_to_term(binary)

  @doc "The bytes that name something everywhere."
  @spec name(term) :: binary
  def name(term), do: :erlang.term_to_binary(term, @name_format)

  @doc "The name of a group for the engine."
  @spec group(atom | binary) :: String.t()
  def group(name) when is_atom(name) and name not in [nil, true, false], do: Atom.to_string(name)
  def group(name) when is_binary(name) and byte_size(name) in 1..255, do: name

  def group(other),
    do:
      raise(
        ArgumentError,
        "a group is named by an atom or a binary of 1 to 255 bytes, got: #{inspect(other)}"
      )

  @doc "The name of a member: this node's own, or that which the node is known by."
  @spec member(node | String.t()) :: String.t()
  def member(member) when is_binary(member), do: member
  def member(node) when node == node(), do: Engine.me()
  def member(node) when is_atom(node), do: Atom.to_string(node)
end
