defmodule Foundation.Distributed.Coordination.Objects do
  @moduledoc false
  # What the functions of Foundation.Distributed.Coordination share: how objects are named, made and asked about, and what
  # their options may be.

  alias Foundation.Distributed.Consensus
  alias Foundation.Distributed.Consensus.{Ask, Codec, Options}
  alias Foundation.Distributed.Coordination.{Formation, Object}

  @timeout 5_000

  @doc "The object of that name; the group hears nothing of it. `known` are its options besides `:group`."
  @spec object(Object.kind(), term, keyword, [atom]) :: {:ok, Object.t()} | {:error, term}
  def object(kind, name, options, known) do
    Options.known!(options, [:group | known], "a #{kind}")
    {group, options} = Keyword.pop(options, :group, Consensus.default_group())
    lease!(Keyword.get(options, :lease, 0))

    with :ok <- Formation.ensure(group),
         do: {:ok, %Object{kind: kind, name: name, group: group, options: options}}
  end

  @doc "As `object/4`, of something that the group keeps with a size, which is the option `size`."
  @spec defined(Object.kind(), term, keyword, atom, [atom]) :: {:ok, Object.t()} | {:error, term}
  def defined(kind, name, options, size, known) do
    {count, options} = Keyword.pop(options, size)
    count = Options.positive!(size, count)

    with {:ok, object} <- object(kind, name, options, known),
         :ok <- Ask.command(object.group, {:define, kind, Codec.name(name), count}, @timeout),
         do: {:ok, %{object | options: [{size, count} | object.options]}}
  end

  @doc "Asks the object's group, with the options of `Consensus.query/3`."
  @spec ask(Object.t(), tuple, keyword) :: {:ok, term} | {:error, term}
  def ask(object, query, options) do
    Options.known!(options, [:timeout, :consistency], "a query")
    Ask.query(object.group, query, Keyword.get(options, :consistency, :linearizable), timeout!(options))
  end

  @spec timeout!(keyword) :: pos_integer
  def timeout!(options), do: Options.positive!(:timeout, Keyword.get(options, :timeout, @timeout))

  @spec lease!(term) :: non_neg_integer
  def lease!(lease) when is_integer(lease) and lease in 0..86_400_000, do: lease

  def lease!(other),
    do: raise(ArgumentError, "lease: is a number of ms from 0 to 86,400,000, got: #{inspect(other)}")

  @spec integer!(term) :: integer
  def integer!(value) when is_integer(value) and value in -0x8000000000000000..0x7FFFFFFFFFFFFFFF, do: value
  def integer!(other), do: raise(ArgumentError, "a counter is an integer of 64 bits, got: #{inspect(other)}")
end
