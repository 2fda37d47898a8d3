defmodule Foundation.Config.Shared.Settings do
  @moduledoc false
  # `config :foundation, shared_config: [...]`, checked.

  alias Foundation.Distributed.Consensus

  @defaults [sync: false, timeout: 30_000, available: [], group: nil, history: 100, state: []]

  @type t :: %{
          sync: boolean,
          timeout: pos_integer,
          available: [[atom]],
          group: Consensus.group(),
          history: pos_integer,
          state: keyword
        }

  @doc "The settings; raises ArgumentError for what makes no sense. O(options)."
  @spec read() :: t
  def read do
    options = Application.get_env(:foundation, :shared_config, [])
    Keyword.keyword?(options) || wrong("is a keyword list", options)

    for {key, value} <- options do
      Keyword.has_key?(@defaults, key) ||
        wrong("has the options #{Enum.map_join(@defaults, ", ", &inspect(elem(&1, 0)))}", key)

      valid?(key, value) || wrong("#{key}: is #{expected(key)}", value)
    end

    settings = @defaults |> Keyword.merge(options) |> Map.new()
    %{settings | group: settings.group || Consensus.default_group()}
  end

  @doc "The consistency of a path: that of the longest prefix with one."
  @spec consistency(t, [atom]) :: :strong | :available
  def consistency(settings, path) do
    if Enum.any?(settings.available, &List.starts_with?(path, &1)), do: :available, else: :strong
  end

  defp valid?(:sync, value), do: is_boolean(value)
  defp valid?(key, n) when key in [:timeout, :history], do: is_integer(n) and n > 0
  defp valid?(:group, group), do: is_nil(group) or is_atom(group) or is_binary(group)
  defp valid?(:state, options), do: Keyword.keyword?(options)
  defp valid?(:available, paths), do: is_list(paths) and Enum.all?(paths, &(is_list(&1) and &1 != []))

  defp expected(:sync), do: "true or false"
  defp expected(:timeout), do: "a number of milliseconds above 0"
  defp expected(:history), do: "a number of changes above 0"
  defp expected(:group), do: "the name of a consensus group"
  defp expected(:state), do: "options of Foundation.Distributed.State.new/3"
  defp expected(:available), do: "a list of paths"

  @spec wrong(String.t(), term) :: no_return
  defp wrong(expected, value),
    do:
      raise(
        ArgumentError,
        "config :foundation, shared_config: #{expected}, got: #{inspect(value, limit: 20)}"
      )
end
