defmodule Foundation.MABEAM.AgentRegistry.Table do
  @moduledoc false
  # What is known of this node's agents, in tables of MABEAM's supervisor, so that it outlives the registry's process:
  # those that can be asked, for everyone who asks; all, with what they are; and their last snapshots.

  alias Foundation.MABEAM.Agent.Gate
  alias Foundation.MABEAM.AgentRegistry.Entry

  @live Foundation.MABEAM.Agents.Live
  @entries Foundation.MABEAM.Agents.Entries
  @snapshots Foundation.MABEAM.Agents.Snapshots

  def create do
    :ets.new(@live, [:named_table, :public, read_concurrency: true])
    :ets.new(@entries, [:named_table, :public, read_concurrency: true])
    :ets.new(@snapshots, [:named_table, :public, write_concurrency: true])
    :ok
  end

  @doc "Whether MABEAM runs here."
  @spec there?() :: boolean
  def there?, do: :ets.whereis(@entries) != :undefined

  @doc "The process of an agent that can be asked, with its gate and the length of its mailbox."
  @spec live(term) :: {:ok, pid, reference, pos_integer} | {:error, atom}
  def live(id) do
    case :ets.lookup(@live, id) do
      [{_id, pid, gate, limit, _timeout, true}] -> {:ok, pid, gate, limit}
      _ -> {:error, absence(id)}
    end
  rescue
    ArgumentError -> {:error, :not_running}
  end

  defp absence(id) do
    case :ets.lookup(@entries, id) do
      [] -> :not_found
      [{_id, %Entry{status: status}}] when status in [:draining, :stopping] -> :draining
      [_entry] -> :not_started
    end
  end

  @doc "Has an agent watched, and asked once it is ready."
  @spec open(Entry.t(), boolean) :: :ok
  def open(%Entry{spec: spec} = entry, ready) do
    :ets.insert(@live, {spec.id, entry.pid, entry.gate, spec.max_mailbox, spec.callback_timeout, ready})
    :ok
  end

  def close(id) do
    :ets.delete(@live, id)
    :ok
  end

  @doc "Agents whose callback takes longer than it may: `{id, pid, ms}`. O(agents), without what they are."
  @spec stalled() :: [{term, pid, pos_integer}]
  def stalled do
    :ets.foldl(
      fn {id, pid, gate, _limit, most, _ready}, found ->
        ms = if most == :infinity, do: 0, else: Gate.busy_ms(gate)
        if ms > most, do: [{id, pid, ms} | found], else: found
      end,
      [],
      @live
    )
  end

  @spec entry(term) :: {:ok, Entry.t()} | {:error, :not_found | :not_running}
  def entry(id) do
    case :ets.lookup(@entries, id) do
      [{_id, entry}] -> {:ok, entry}
      [] -> {:error, :not_found}
    end
  rescue
    ArgumentError -> {:error, :not_running}
  end

  def put(%Entry{spec: %{id: id}} = entry) do
    :ets.insert(@entries, {id, entry})
    entry
  end

  def delete(id) do
    :ets.delete(@live, id)
    :ets.delete(@entries, id)
    :ets.delete(@snapshots, id)
    :ok
  end

  @spec entries() :: [Entry.t()]
  def entries do
    for {_id, entry} <- :ets.tab2list(@entries), do: entry
  rescue
    ArgumentError -> []
  end

  @doc "Whether an agent with all of these capabilities is registered under the id."
  @spec capable?(term, [atom]) :: boolean
  def capable?(id, capabilities) do
    case entry(id) do
      {:ok, %{spec: spec}} -> Enum.all?(capabilities, &(&1 in spec.capabilities))
      _ -> false
    end
  end

  @spec keep_snapshot(term, term) :: :ok
  def keep_snapshot(id, kept) do
    :ets.insert(@snapshots, {id, kept})
    :ok
  end

  @spec snapshot(term) :: {:snapshot, term} | nil
  def snapshot(id) do
    case :ets.lookup(@snapshots, id) do
      [{_id, kept}] -> {:snapshot, kept}
      [] -> nil
    end
  end

  def drop_snapshot(id) do
    :ets.delete(@snapshots, id)
    :ok
  end
end
