defmodule Foundation.Distributed.Discovery.DirectoryTest do
  use ExUnit.Case, async: true

  alias Foundation.Distributed.Discovery.Directory

  setup do
    scope = :"directory_#{System.unique_integer([:positive])}"
    :ets.new(Directory.own(scope), [:named_table])
    {:ok, scope: scope, directory: Directory.new(scope)}
  end

  defp found(pid),
    do: %{service: :shop, pid: pid, node: node(), capabilities: [:sell], status: :up, weight: 1, zone: nil}

  test "a stale pool is in the order of the one that replaces it", %{scope: scope, directory: directory} do
    pids = for _ <- 1..20, do: spawn(fn -> :ok end)

    # Not in the order of the pids, which is that of the table.
    directory =
      Enum.reduce(Enum.reverse(pids), directory, fn pid, directory ->
        {:up, directory} = Directory.put(directory, found(pid))
        directory
      end)

    selections = [{:service, :shop}, {:capability, :sell}]
    stale = for selection <- selections, do: Directory.pool(scope, selection)
    assert [{ids, _turn, 20}, {ids, _, 20}] = stale
    assert tuple_size(ids) == 20
    Directory.renew(directory)
    assert for(selection <- selections, do: Directory.pool(scope, selection)) == stale
  end
end
