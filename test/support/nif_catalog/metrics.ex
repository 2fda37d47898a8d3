defmodule Foundation.NifCatalog.Metrics do
  @moduledoc false

  alias Foundation.Native

  def entries, do: aggregates()

  defp aggregates do
    [
      %{nif: {:metrics_new, 1}, scheduler: :normal, bound: "O(1)", args: fn -> [1000] end},
      %{
        nif: {:metrics_execute, 4},
        scheduler: :normal,
        bound: "O(measurements), at most 64; name at most 4096 bytes",
        args: fn -> [known(), [:catalog, :event], %{counter: 1}, 1] end,
        hot: true
      },
      %{
        nif: {:metrics_execute_new, 5},
        scheduler: :dirty_cpu,
        bound: "O(measurements + metadata)",
        args: fn -> [known(), [:catalog, :other], %{gauge: 1.5}, %{from: :catalog}, 1] end
      },
      %{nif: {:metrics_collect, 1}, scheduler: :dirty_cpu, bound: "O(names)", args: fn -> [known()] end},
      %{nif: {:metrics_sweep, 2}, scheduler: :dirty_cpu, bound: "O(names)", args: fn -> [known(), 0] end},
      %{nif: {:metrics_clear, 1}, scheduler: :dirty_cpu, bound: "O(names)", args: fn -> [known()] end},
      %{nif: {:metrics_names, 1}, scheduler: :normal, bound: "O(shards)", args: fn -> [known()] end}
    ]
  end

  defp known do
    metrics = Native.metrics_new(1000)
    Native.metrics_execute_new(metrics, [:catalog, :event], %{counter: 1}, %{}, 1)
    metrics
  end
end
