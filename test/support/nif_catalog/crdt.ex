defmodule Foundation.NifCatalog.Crdt do
  @moduledoc false

  alias Foundation.Native

  def entries, do: writing() ++ reading() ++ talking() ++ keeping()

  defp writing do
    [
      %{
        nif: {:crdt_new, 4},
        scheduler: :dirty_cpu,
        bound: "O(shards), at most 1,024",
        args: fn -> [{:or_map, :lww_register}, 1, 32, bounds()] end
      },
      %{
        nif: {:crdt_mutate, 3},
        scheduler: :normal,
        bound: "2,000 terms, 32 KB, 20 us for a lock; else `:dirty`",
        args: fn -> [map(), [:key], {:assign, "value"}] end,
        hot: true
      },
      %{
        nif: {:crdt_mutate_large, 3},
        scheduler: :dirty_cpu,
        bound: "O(bytes), at most 9 MB; O(parts) of a key",
        args: fn -> [map(), [:key], {:assign, "value"}] end
      },
      %{
        nif: {:crdt_mutate_durable, 3},
        scheduler: :dirty_io,
        bound: "as `crdt_mutate_large`, and one write",
        args: fn -> [map(), [:key], {:assign, "value"}] end
      },
      %{
        nif: {:crdt_mutate_all, 2},
        scheduler: :dirty_io,
        bound: "O(changes), at most 1,000,000",
        args: fn -> [map(), for(n <- 1..10, do: {[n], {:assign, n}})] end
      }
    ]
  end

  defp reading do
    [
      %{
        nif: {:crdt_read_leaf, 2},
        scheduler: :normal,
        bound: "32 KB, 20 us for a lock; else `:dirty`",
        args: fn -> [map(), [3]] end,
        hot: true
      },
      %{
        nif: {:crdt_read, 3},
        scheduler: :dirty_cpu,
        bound: "O(entries) of a shard",
        args: fn -> [map(), [], 0] end
      },
      %{
        nif: {:crdt_watch, 2},
        scheduler: :dirty_cpu,
        bound: "O(shards)",
        args: fn -> [map(), true] end
      },
      %{
        nif: {:crdt_changes, 2},
        scheduler: :dirty_cpu,
        bound: "O(changes) of a shard, at most 16,384",
        args: fn -> [map(), 0] end
      },
      %{nif: {:crdt_root, 1}, scheduler: :dirty_cpu, bound: "O(keys / 512)", args: fn -> [map()] end},
      %{
        nif: {:crdt_status, 1},
        scheduler: :dirty_cpu,
        bound: "O(shards × replicas)",
        args: fn -> [map()] end
      }
    ]
  end

  defp talking do
    [
      %{
        nif: {:crdt_push, 2},
        scheduler: :dirty_cpu,
        bound: "O(budget)",
        args: fn -> [map(), 262_144] end
      },
      %{nif: {:crdt_roots, 1}, scheduler: :dirty_cpu, bound: "O(keys / 512)", args: fn -> [map()] end},
      %{
        nif: {:crdt_handle, 4},
        scheduler: :dirty_cpu,
        bound: "O(bytes of the message + budget)",
        args: fn -> [map(), 2, Native.crdt_roots(map()), 262_144] end
      },
      %{
        nif: {:crdt_handle_durable, 4},
        scheduler: :dirty_io,
        bound: "as `crdt_handle`, and one write",
        args: fn -> [map(), 2, Native.crdt_roots(map()), 262_144] end
      },
      %{
        nif: {:crdt_collect, 3},
        scheduler: :dirty_cpu,
        bound: "O(shards × most)",
        args: fn -> [map(), [2, 3], 100] end
      },
      %{nif: {:crdt_forget, 2}, scheduler: :dirty_cpu, bound: "O(shards)", args: fn -> [map(), 2] end}
    ]
  end

  defp keeping do
    [
      %{
        nif: {:crdt_open_journal, 3},
        scheduler: :dirty_io,
        bound: "O(bytes) of the journal",
        args: fn -> [map(), directory(), :os] end,
        consumes: true
      },
      %{
        nif: {:crdt_compact, 1},
        scheduler: :dirty_io,
        bound: "O(keys), a shard's lock 32 KB at a time",
        args: fn -> [map()] end
      },
      %{nif: {:crdt_close, 1}, scheduler: :dirty_io, bound: "one sync", args: fn -> [map()] end}
    ]
  end

  defp bounds, do: {1_000_000, 1_000_000_000, 60_000}

  # Fresh, with a hundred keys.
  defp map do
    {:ok, state} = Native.crdt_new({:or_map, :lww_register}, 1, 4, bounds())
    :wake = Native.crdt_mutate_all(state, for(n <- 1..100, do: {[n], {:assign, "value #{n}"}}))
    state
  end

  defp directory do
    path = Path.join(System.tmp_dir!(), "foundation_catalog_#{System.unique_integer([:positive])}")
    File.mkdir_p!(path)
    # Open for as long as the handle lives.
    System.at_exit(fn _ -> File.rm_rf(path) end)
    path
  end
end
