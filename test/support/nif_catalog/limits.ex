defmodule Foundation.NifCatalog.Limits do
  @moduledoc false

  alias Foundation.{Engine, Native}

  @chain "O(dimensions and ancestors), at most 16 and 8"
  @huge 1_000_000_000

  def entries do
    [
      %{
        nif: {:limits_new, 1},
        scheduler: :dirty_cpu,
        bound: "O(1), starts a thread",
        args: fn -> [10] end
      },
      %{
        nif: {:limits_define, 5},
        scheduler: :dirty_cpu,
        bound: "O(dimensions); of a pattern O(keys)",
        args: fn -> [limits(), :catalog_define, [{:requests, 0, 60, 60_000, nil}], [], {0, 10}] end
      },
      %{nif: {:limits_acquire, 3}, scheduler: :normal, bound: @chain, args: fn -> demand() end, hot: true},
      %{
        nif: {:limits_reserve, 5},
        scheduler: :normal,
        bound: @chain <> "; O(log reservations)",
        args: fn -> demand() ++ [50, self()] end
      },
      %{
        nif: {:limits_commit, 2},
        consumes: true,
        scheduler: :normal,
        bound: @chain,
        args: fn -> [reservation(), %{}] end
      },
      %{
        nif: {:limits_refund, 1},
        consumes: true,
        scheduler: :normal,
        bound: @chain,
        args: fn -> [reservation()] end
      },
      %{
        nif: {:limits_wait, 5},
        scheduler: :normal,
        bound: @chain <> "; O(log waiters)",
        args: fn -> demand() ++ [make_ref(), {0, 50, -1}] end
      },
      %{
        nif: {:limits_cancel, 1},
        consumes: true,
        scheduler: :normal,
        bound: "O(log waiters)",
        args: fn -> [ticket()] end
      },
      %{
        nif: {:limits_peek, 2},
        scheduler: :normal,
        bound: "O(dimensions)",
        args: fn -> keyed() end,
        hot: true
      },
      %{nif: {:limits_reset, 2}, scheduler: :normal, bound: "O(dimensions)", args: fn -> keyed() end},
      %{
        nif: {:limits_delete, 2},
        consumes: true,
        scheduler: :normal,
        bound: "O(1)",
        args: fn ->
          define(:catalog_delete, [{:requests, 0, 60, 60_000, nil}])
          [limits(), :catalog_delete]
        end
      },
      %{
        nif: {:limits_learn, 4},
        scheduler: :normal,
        bound: "O(dimensions)",
        args: fn -> learner() ++ [[{:requests, @huge, @huge}], -1] end
      },
      %{
        nif: {:limits_quota_report, 4},
        scheduler: :normal,
        bound: "O(dimensions)",
        args: fn -> leased() ++ [{1, 0}] end
      },
      %{nif: {:limits_quota_look, 3}, scheduler: :normal, bound: "O(dimensions)", args: fn -> leased() end},
      %{
        nif: {:limits_quota_grant, 5},
        scheduler: :normal,
        bound: "O(dimensions and waiters)",
        args: fn -> leased() ++ [{1, 500_000_000}, {60_000_000, 0}] end
      },
      %{nif: {:limits_count, 1}, scheduler: :normal, bound: "O(1)", args: fn -> [limits()] end},
      %{nif: {:limits_sweep, 1}, scheduler: :dirty_cpu, bound: "O(keys)", args: fn -> [limits()] end},
      %{
        nif: {:limits_check_rate, 5},
        scheduler: :normal,
        bound: "O(1)",
        args: fn -> [limits(), "catalog", :check, @huge, 60_000] end,
        hot: true
      },
      %{nif: {:limits_rate_status, 3}, scheduler: :normal, bound: "O(1)", args: fn -> rate() end},
      %{nif: {:limits_rate_reset, 3}, scheduler: :normal, bound: "O(1)", args: fn -> rate() end},
      %{
        nif: {:limits_window_hit, 5},
        scheduler: :normal,
        bound: "O(1)",
        args: fn -> [limits(), "catalog_hit", 60_000, @huge, 1] end,
        hot: true
      },
      %{
        nif: {:limits_window_inc, 4},
        scheduler: :normal,
        bound: "O(1)",
        args: fn -> [limits(), "catalog_inc", 60_000, 1] end
      },
      %{
        nif: {:limits_window_set, 4},
        scheduler: :normal,
        bound: "O(1)",
        args: fn -> [limits(), "catalog_set", 60_000, 1] end
      },
      %{
        nif: {:limits_window_get, 3},
        scheduler: :normal,
        bound: "O(1)",
        args: fn -> [limits(), "catalog_set", 60_000] end
      },
      %{
        nif: {:limits_window_clean, 1},
        scheduler: :dirty_cpu,
        bound: "O(counters)",
        args: fn -> [limits()] end
      }
    ]
  end

  defp limits, do: Engine.handle(:limits)
  defp rate, do: [limits(), "catalog", :check]

  defp keyed do
    define(:catalog_hot, [{:requests, 0, @huge, 1_000, nil}])
    [limits(), :catalog_hot]
  end

  defp leased do
    define(:catalog_leased, [{:requests, 1_000, @huge, 1_000, nil}])
    [limits(), :catalog_leased, :requests]
  end

  # Of its own, because what it learns may pause it for long.
  defp learner do
    define(:catalog_learner, [{:requests, 0, @huge, 1_000, nil}])
    [limits(), :catalog_learner]
  end

  defp demand, do: keyed() ++ [%{requests: 1}]

  defp reservation do
    [limits, key] = keyed()
    {:ok, reservation} = Native.limits_reserve(limits, key, %{requests: 1}, 60_000, self())
    reservation
  end

  defp ticket do
    define(:catalog_queue, [{:requests, 0, 1, 60_000, nil}])
    Native.limits_acquire(limits(), :catalog_queue, %{requests: 1})

    {:waiting, ticket} =
      Native.limits_wait(limits(), :catalog_queue, %{requests: 1}, make_ref(), {0, 60_000, -1})

    ticket
  end

  defp define(key, dimensions), do: :ok = Native.limits_define(limits(), key, dimensions, [], {0, 100_000})
end
