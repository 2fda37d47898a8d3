defmodule Foundation.ProcessRegistry.Global.Table do
  @moduledoc false
  # What this node knows of the cluster's names. Everybody reads; only the server writes.
  #
  # @names has for each key the claim that counts: {key, pid, metadata, stamp, token}. @own has this node's claims
  # with what the others need not know, @by_pid finds them by process, and @changes has each key once, at the number of
  # its last change, so that what another node lacks is what follows the last number it has seen.

  @names :foundation_names
  @own :foundation_names_own
  @by_pid :foundation_names_by_pid
  @changes :foundation_names_changes

  @type key :: {scope :: term, name :: term}
  @type claim :: {pid, metadata :: term, stamp :: integer, token :: non_neg_integer | nil}
  @type row :: {key, pid, term, integer, non_neg_integer | nil}

  # The names are read by everybody all the time. Going by the name of a table takes a lock that all tables share, and
  # reading under the plain lock of a table makes cores wait for each other: both cost more than the rest of a lookup.
  def create do
    :persistent_term.put(@names, :ets.new(@names, [:public, :set, read_concurrency: true]))
    :ets.new(@own, [:named_table, :public, :set])
    :ets.new(@by_pid, [:named_table, :public, :ordered_set])
    :ets.new(@changes, [:named_table, :public, :ordered_set])
    :ok
  end

  defp names, do: :persistent_term.get(@names)

  # -- the claims that count

  @doc "The row of a key, or nil. O(1)."
  @spec row(key) :: row | nil
  def row(key) do
    case :ets.lookup(names(), key) do
      [row] -> row
      [] -> nil
    end
  end

  @doc "The process of a key, or nil. O(1); copies nothing else."
  @spec pid(key) :: pid | nil
  def pid(key), do: :ets.lookup_element(names(), key, 2)

  @spec rows(term) :: [row]
  def rows(scope), do: :ets.select(names(), in_scope(scope, [:"$_"]))

  @spec count(term) :: non_neg_integer
  def count(scope), do: :ets.select_count(names(), in_scope(scope, [true]))

  defp in_scope(scope, result),
    do: [{{{:"$1", :_}, :_, :_, :_, :_}, [{:"=:=", :"$1", {:const, scope}}], result}]

  def put_row(key, {pid, metadata, stamp, token}),
    do: :ets.insert(names(), {key, pid, metadata, stamp, token})

  def delete_row(key), do: :ets.delete(names(), key)

  @doc "Forgets what others have claimed."
  def delete_of_others do
    other = {:"=/=", {:node, :"$1"}, node()}
    :ets.select_delete(names(), [{{:_, :"$1", :_, :_, :_}, [other], [true]}])
  end

  # -- this node's claims

  @doc "This node's claim to a key: `{claim, number, settings}`, or nil."
  def own(key) do
    case :ets.lookup(@own, key) do
      [{_key, claim, number, settings}] -> {claim, number, settings}
      [] -> nil
    end
  end

  def all_own, do: :ets.tab2list(@own)

  def put_own(key, {pid, _, _, _} = claim, number, settings) do
    :ets.insert(@own, {key, claim, number, settings})
    :ets.insert(@by_pid, {{pid, key}})
  end

  def delete_own(key, pid) do
    :ets.delete(@own, key)
    :ets.delete(@by_pid, {pid, key})
  end

  @doc "The keys that a process of this node has claimed. O(their number)."
  def keys_of(pid), do: keys_after(pid, {pid, 0}, [])

  # A number comes before every key.
  defp keys_after(pid, last, keys) do
    case :ets.next(@by_pid, last) do
      {^pid, key} = next -> keys_after(pid, next, [key | keys])
      _ -> keys
    end
  end

  # -- changes

  def put_change(number, change), do: :ets.insert(@changes, {number, change})
  def delete_change(number), do: :ets.delete(@changes, number)

  @doc "At most `limit` changes after that number, in order."
  def changes_after(number, limit), do: next_changes(:ets.next(@changes, number), limit, [])

  defp next_changes(:"$end_of_table", _left, changes), do: Enum.reverse(changes)
  defp next_changes(_number, 0, changes), do: Enum.reverse(changes)

  defp next_changes(number, left, changes) do
    [change] = :ets.lookup(@changes, number)
    next_changes(:ets.next(@changes, number), left - 1, [change | changes])
  end

  def forget_changes, do: :ets.delete_all_objects(@changes)
end
