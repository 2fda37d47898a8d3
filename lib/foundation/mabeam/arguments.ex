defmodule Foundation.MABEAM.Arguments do
  @moduledoc false
  # What callers give: agents, and options by name. Raises ArgumentError for what is neither.

  alias Foundation.MABEAM.Types

  @typedoc "A value that an option may have: this one, one of the range, or `{:from, n}`: a whole number from n on."
  @type accepted :: Range.t() | {:from, integer} | term

  @doc "A list of at least one agent id, each once."
  @spec agents!(term) :: [Types.agent_id()]
  def agents!(agents) do
    if is_list(agents) and agents != [] and not List.improper?(agents) and
         Enum.all?(agents, &Types.agent_id?/1),
       do: Enum.uniq(agents),
       else: bad!("agents", agents, "a list of at least one agent id")
  end

  @doc "Options of no other name than these."
  @spec known!(term, [atom]) :: keyword
  def known!(opts, names) do
    unless Keyword.keyword?(opts), do: bad!("options", opts, "a keyword list")

    for name <- Keyword.keys(opts), name not in names do
      raise ArgumentError, "unknown option #{inspect(name)}, known are #{inspect(names)}"
    end

    opts
  end

  @doc "Options of these names, each with one of the values that are accepted for it."
  @spec options!(term, [{atom, [accepted]}]) :: keyword
  def options!(opts, accepted) do
    for {name, value} <- known!(opts, Keyword.keys(accepted)),
        choices = accepted[name],
        not Enum.any?(choices, &fits?(&1, value)),
        do: bad!("#{name}:", value, Enum.map_join(choices, " or ", &words/1))

    opts
  end

  defp fits?(first..last//_, value), do: is_integer(value) and value >= first and value <= last
  defp fits?({:from, least}, value), do: is_integer(value) and value >= least
  defp fits?(one, value), do: one === value

  defp words(first..last//_), do: "a whole number from #{first} to #{last}"
  defp words({:from, least}), do: "a whole number from #{least}"
  defp words(one), do: inspect(one)

  defp bad!(what, value, expected),
    do: raise(ArgumentError, "#{what} must be #{expected}, got: #{inspect(value, limit: 10)}")
end
