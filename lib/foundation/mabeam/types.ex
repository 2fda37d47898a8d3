defmodule Foundation.MABEAM.Types do
  @moduledoc """
  Describes what agents and coordination are made of: agents, variables, requests and outcomes, as plain data.

      iex> {:ok, spec} = Foundation.MABEAM.Types.AgentSpec.new(id: :scout, module: MyApp.Scout, capabilities: [:search])
      iex> {spec.id, spec.type, spec.restart}
      {:scout, :worker, :permanent}

  An agent is known by its id, never by a pid. What a struct of this module holds can be written with
  `:erlang.term_to_binary/1` and read on another node, at another time: constructors refuse pids, ports, references and
  anonymous functions.

  Errors of the constructors are `{:error, {:invalid, %{field: field, value: value, expected: text}}}`; the bang variants
  raise ArgumentError with the same.
  """

  @typedoc "The name of an agent: an atom, or a string of 1 to 255 bytes."
  @type agent_id :: atom | String.t()

  @typedoc "Money in millionths of the unit, so that it is always a whole number. See `Foundation.MABEAM.Economics`."
  @type money :: integer

  @typedoc "What a run, a callback or an agent has used up."
  @type cost :: %{tokens: non_neg_integer, money: money}

  @doc """
  Whether a term may name an agent. O(1).

      iex> Enum.map([:a, "b", "", nil, 7], &Foundation.MABEAM.Types.agent_id?/1)
      [true, true, false, false, false]
  """
  @spec agent_id?(term) :: boolean
  def agent_id?(id) when is_atom(id), do: id not in [nil, true, false]
  def agent_id?(id) when is_binary(id), do: byte_size(id) in 1..255 and String.valid?(id)
  def agent_id?(_other), do: false

  @doc """
  Whether a term means the same on another node and after a restart: no pid, port, reference or anonymous function in it.
  O(size of the term).

      iex> Enum.map([%{a: [1]}, {:x, self()}, &String.length/1], &Foundation.MABEAM.Types.serialisable?/1)
      [true, false, true]
  """
  @spec serialisable?(term) :: boolean
  def serialisable?(term) when is_pid(term) or is_port(term) or is_reference(term), do: false

  def serialisable?(term) when is_function(term),
    do: match?({:type, :external}, :erlang.fun_info(term, :type))

  def serialisable?([head | tail]), do: serialisable?(head) and serialisable?(tail)
  def serialisable?(term) when is_tuple(term), do: term |> Tuple.to_list() |> serialisable?()
  def serialisable?(term) when is_map(term), do: term |> Map.to_list() |> serialisable?()
  def serialisable?(_atomic), do: true

  @doc "No cost at all. O(1)."
  @spec no_cost() :: cost
  def no_cost, do: %{tokens: 0, money: 0}
end
