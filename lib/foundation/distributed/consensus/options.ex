defmodule Foundation.Distributed.Consensus.Options do
  @moduledoc false
  # The options of the engine and of groups, checked.

  @engine [dir: nil, sync: true, heartbeat_ms: 75, election_ms: 400]
  @group [max_in_flight: 16_384, max_command: 4 * 1024 * 1024, snapshot_entries: 50_000]

  @doc "What the native engine is told, from the given options over `config :foundation, consensus:`."
  @spec engine(keyword) :: map
  def engine(given) do
    options =
      @engine
      |> Keyword.merge(keywords(Application.get_env(:foundation, :consensus, [])))
      |> Keyword.merge(given)

    known!(options, Keyword.keys(@engine), "consensus")
    dir = directory!(options[:dir])
    if dir, do: File.mkdir_p!(dir)

    %{
      me: me(dir),
      dir: dir,
      sync: boolean!(:sync, options[:sync]),
      heartbeat_ms: positive!(:heartbeat_ms, options[:heartbeat_ms]),
      election_min_ms: positive!(:election_ms, options[:election_ms]) |> div(2),
      election_max_ms: options[:election_ms]
    }
  end

  defp keywords(list) when is_list(list), do: list

  defp keywords(other),
    do:
      raise(
        ArgumentError,
        "config :foundation, consensus: is a keyword list of options, got: #{inspect(other)}"
      )

  defp me(nil), do: "#{node()}##{Base.encode16(:crypto.strong_rand_bytes(6), case: :lower)}"
  defp me(_dir), do: Atom.to_string(node())

  @doc "What a native group is told."
  @spec group(keyword) :: map
  def group(given) do
    options = Keyword.merge(@group, Keyword.take(given, Keyword.keys(@group)))
    Map.new(options, fn {name, value} -> {name, positive!(name, value)} end)
  end

  @doc "The names of those options of a group that the engine takes."
  @spec group_names() :: [atom]
  def group_names, do: Keyword.keys(@group)

  @doc "Raises for options that do not exist."
  @spec known!(keyword, [atom], String.t()) :: :ok
  def known!(options, names, what) do
    unless Keyword.keyword?(options),
      do: raise(ArgumentError, "options of #{what} are a keyword list, got: #{inspect(options)}")

    case Keyword.keys(options) -- names do
      [] ->
        :ok

      [name | _] ->
        raise ArgumentError,
              "#{what} has no option #{inspect(name)}; it has #{Enum.map_join(names, ", ", &inspect/1)}"
    end
  end

  @doc "The value, when it is a positive integer of 32 bits."
  @spec positive!(atom, term) :: pos_integer
  def positive!(_name, value) when is_integer(value) and value in 1..0xFFFFFFFF, do: value

  def positive!(name, value),
    do:
      raise(
        ArgumentError,
        "#{name} is an integer of 1 or more that fits 32 bits, got: #{inspect(value)}"
      )

  defp boolean!(_name, value) when is_boolean(value), do: value
  defp boolean!(name, value), do: raise(ArgumentError, "#{name} is true or false, got: #{inspect(value)}")

  defp directory!(nil), do: nil
  defp directory!(dir) when is_binary(dir) and dir != "", do: dir
  defp directory!(dir), do: raise(ArgumentError, "dir is a path or nil, got: #{inspect(dir)}")
end
