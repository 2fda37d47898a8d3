defmodule Foundation.Cluster.Federation.Wire do
  @moduledoc false
  # What goes between clusters: the name of a function apart from its arguments, so that nothing has to be decoded to
  # know whether it may be called; and plain data only, in the external term format, without compression.

  @version 1
  @ok 0
  @quota 1
  @too_large 2
  @lost 3
  @not_allowed 16
  @failed 17
  @malformed 18
  @not_plain 19

  @type status :: non_neg_integer
  @type function_name :: {module :: binary, function :: binary, arity}

  @spec request({module, atom, [term]}) :: {:ok, binary} | {:error, :not_plain}
  def request({module, function, args}) do
    # Atoms are at most 255 characters, and so at most 1,020 bytes.
    {module, function} = {Atom.to_string(module), Atom.to_string(function)}

    if plain?(args) and length(args) < 256 do
      head = <<@version, byte_size(module)::16, module::binary, byte_size(function)::16, function::binary>>
      {:ok, <<head::binary, length(args), encode(args)::binary>>}
    else
      {:error, :not_plain}
    end
  end

  @doc "Which function is asked for, and its arguments, not decoded."
  @spec parse(binary) :: {:ok, function_name, binary} | :error
  def parse(
        <<@version, a::16, module::binary-size(a), b::16, function::binary-size(b), arity, args::binary>>
      ),
      do: {:ok, {module, function, arity}, args}

  def parse(_), do: :error

  @doc "Plain data from bytes of others: no new atoms, nothing compressed, nothing behind it."
  @spec decode(binary) :: {:ok, term} | :error
  def decode(<<131, 80, _::binary>>), do: :error

  def decode(bytes) do
    {term, used} = :erlang.binary_to_term(bytes, [:safe, :used])
    if used == byte_size(bytes) and plain?(term), do: {:ok, term}, else: :error
  rescue
    ArgumentError -> :error
  end

  @spec encode(term) :: binary
  def encode(term), do: :erlang.term_to_binary(term, minor_version: 2)

  @doc "Whether a term is made of numbers, binaries, atoms, proper lists, tuples and maps alone."
  @spec plain?(term) :: boolean
  def plain?(term) when is_atom(term) or is_number(term) or is_bitstring(term), do: true
  def plain?([head | tail]), do: plain?(head) and (tail == [] or (is_list(tail) and plain?(tail)))
  def plain?([]), do: true
  def plain?(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> plain?()
  def plain?(map) when is_map(map), do: map |> Map.to_list() |> plain?()
  def plain?(_), do: false

  @doc "The answer of a function that returned."
  @spec returned(term) :: {status, binary}
  def returned(term), do: if(plain?(term), do: {@ok, encode(term)}, else: {@not_plain, ""})

  @spec not_allowed() :: {status, binary}
  def not_allowed, do: {@not_allowed, ""}

  @spec failed() :: {status, binary}
  def failed, do: {@failed, ""}

  @spec malformed() :: {status, binary}
  def malformed, do: {@malformed, ""}

  @doc "What an answer says to who called."
  @spec answer({:ok, status, binary} | {:error, atom}) :: {:ok, term} | {:error, term}
  def answer({:ok, @ok, bytes}), do: with(:error <- decode(bytes), do: {:error, :not_plain})
  def answer({:ok, @quota, <<ms::64>>}), do: {:error, {:quota, ms}}
  def answer({:ok, @too_large, _}), do: {:error, :too_large}
  def answer({:ok, @not_allowed, _}), do: {:error, :not_allowed}
  def answer({:ok, status, _}) when status in [@failed, @lost], do: {:error, :failed}
  def answer({:ok, @not_plain, _}), do: {:error, :not_plain}
  def answer({:ok, _, _}), do: {:error, :malformed}
  def answer({:error, reason}), do: {:error, reason}
end
