defmodule Foundation.Config.Snapshot do
  @moduledoc false
  # The configuration in force, where every process reads it without asking one: a persistent_term that the
  # configuration server of the production namespace replaces at each change.
  #
  # It names its server, so a reader knows whether one still stands behind it: a snapshot whose server is dead
  # is not in force. What must outlive a crash of the server (schemas, history) lies beside it in the same
  # term.
  #
  # Writing makes the VM look through all processes for the previous term, which costs about a microsecond a
  # process and no more than that, as readers hold values for a moment only.

  alias Foundation.Logic.ConfigLogic
  alias Foundation.Types.Config

  @key __MODULE__

  @doc """
  Puts a configuration in force: `config` is what readers of the whole get, `all` has the added sections
  besides; `kept` outlives the server.
  """
  @spec put(pid, Config.t(), map, boolean, term) :: :ok
  def put(server, config, all, sealed?, kept),
    do: :persistent_term.put(@key, {server, config, all, sealed?, kept})

  @doc "Forgets everything."
  @spec erase() :: :ok
  def erase do
    :persistent_term.erase(@key)
    :ok
  end

  @doc "The configuration in force, without added sections."
  @spec config() :: {:ok, Config.t()} | :down
  def config do
    case :persistent_term.get(@key, nil) do
      {server, config, _, _, _} -> if Process.alive?(server), do: {:ok, config}, else: :down
      nil -> :down
    end
  end

  @doc """
  The value at a path: some 30 ns for one that exists. In a sealed configuration, where no existing path is
  unsafe, the walk itself is the check; a path that leads nowhere is checked before it is said to be missing.
  """
  @spec fetch(list) :: {:ok, term} | {:error, Foundation.Types.Error.t()} | :down
  def fetch([]), do: config()

  def fetch(path) do
    case :persistent_term.get(@key, nil) do
      {server, _, all, true, _} -> if Process.alive?(server), do: walk(all, path, all, path), else: :down
      {server, _, all, false, _} -> if Process.alive?(server), do: checked(all, path), else: :down
      nil -> :down
    end
  end

  @doc """
  Everything the last server left, whether it lives or not: the configuration with added sections, and `kept`.
  """
  @spec kept() :: {map, term} | nil
  def kept do
    case :persistent_term.get(@key, nil) do
      {_server, _config, all, _, kept} -> {all, kept}
      nil -> nil
    end
  end

  defp walk(value, [], _config, _path), do: {:ok, value}

  defp walk(map, [key | rest], config, path) when is_map(map) and key !== :__struct__ do
    case map do
      %{^key => value} -> walk(value, rest, config, path)
      _ -> checked(config, path)
    end
  end

  defp walk(_leaf, _rest, config, path), do: checked(config, path)

  defp checked(config, path), do: ConfigLogic.get_config_value(config, path)
end
