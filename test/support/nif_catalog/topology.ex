defmodule Foundation.NifCatalog.Topology do
  @moduledoc false

  alias Foundation.Native

  def entries do
    [
      %{
        nif: {:topology_start, 3},
        scheduler: :dirty_io,
        bound: "binds one socket",
        args: fn -> [fabric(), options(), self()] end
      },
      %{
        nif: {:topology_stop, 2},
        scheduler: :dirty_io,
        bound: "300 ms with a good-bye",
        args: fn -> [overlay(), false] end,
        consumes: true
      },
      entry({:topology_join, 2}, "O(addresses), at most 1,024", [["127.0.0.1:9"]]),
      entry({:topology_secrets, 3}, "a key, O(senders × secrets)", ["secret", ["former"]]),
      entry({:topology_switch, 2}, "O(links)", [:full_mesh]),
      entry({:topology_automatic, 2}, "O(1)", [nil]),
      entry({:topology_broadcast, 4}, "O(bytes × links)", [0, "payload", :normal]),
      entry({:topology_subscribe, 3}, "O(log topics)", [7, true]),
      entry({:topology_slow, 2}, "O(1)", [false]),
      entry({:topology_info, 1}, "O(members)", []),
      entry({:topology_members, 1}, "O(members)", []),
      entry({:topology_links, 1}, "O(links)", []),
      entry({:topology_route, 2}, "O(log members)", ["nobody@host"]),
      entry({:topology_analyze, 1}, "O(members)", []),
      entry({:topology_recommend, 2}, "O(members)", [:measured])
    ]
  end

  defp entry(nif, bound, more),
    do: %{nif: nif, scheduler: :dirty_cpu, bound: bound, args: fn -> [shared() | more] end}

  defp options do
    %{
      cluster: "catalog",
      secret: "secret",
      address: nil,
      seed: :binary.copy(<<7>>, 32),
      topology: :full_mesh,
      profile: :lan,
      role: :peer,
      meta: "",
      active: nil,
      passive: nil,
      probe_ms: nil,
      suspicion_ms: nil
    }
  end

  # The port that TCP has given the fabric may be somebody else's for UDP.
  defp overlay do
    case Native.topology_start(fabric(), options(), self()) do
      {:ok, overlay} -> overlay
      {:error, {:io, :eaddrinuse}} -> overlay()
    end
  end

  # One for all of the calls that need one; the process that keeps it lives on.
  defp shared do
    case :persistent_term.get(__MODULE__, nil) do
      nil ->
        overlay = overlay()
        :persistent_term.put(__MODULE__, overlay)
        overlay

      overlay ->
        overlay
    end
  end

  defp fabric do
    {:ok, fabric} =
      Native.fabric_start(
        %{
          cluster: "catalog",
          name: "catalog#{System.unique_integer([:positive])}@host",
          boot: 1,
          secret: "secret",
          bind: "127.0.0.1:0",
          advertise: nil,
          idle_ms: 60_000,
          stall_ms: 3_000,
          forget_ms: 60_000,
          backoff_ms: 500,
          max_links: 64
        },
        self(),
        [],
        []
      )

    fabric
  end
end
