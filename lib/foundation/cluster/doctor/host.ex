defmodule Foundation.Cluster.Doctor.Host do
  @moduledoc false
  # What can be wrong with the host: limits, network interfaces, multicast.

  import Foundation.Cluster.Doctor.Finding

  alias Foundation.Cluster.Doctor.Net
  alias Foundation.Cluster.Strategy.{Gossip, Mdns}

  @multicast_ms 1_000
  @least_files 1_024

  @spec findings(map) :: [Foundation.Cluster.Doctor.Finding.t()]
  def findings(context), do: [files(), interfaces() | multicast(context)]

  defp files do
    case :erlang.system_info(:check_io)
         |> List.flatten()
         |> Keyword.get_values(:max_fds)
         |> Enum.max(fn -> nil end) do
      max when is_integer(max) and max < @least_files ->
        warning(
          :files,
          :few_files,
          "this VM may open #{max} files and sockets only; each node of a cluster takes one at the least",
          "raise the limit: ulimit -n 65536, or LimitNOFILE= in a systemd unit"
        )

      max ->
        ok(:files, "this VM may open #{max || "many"} files and sockets")
    end
  end

  defp interfaces do
    up = for {name, flags, [_ | _]} <- Net.interfaces(), :up in flags, :loopback not in flags, do: name

    if up == [] do
      warning(
        :interfaces,
        :loopback_alone,
        "no network interface but the loopback is up and has an address: only nodes on this host can be reached",
        "connect the host, or the container, to a network"
      )
    else
      ok(:interfaces, "network interfaces: #{Enum.join(up, ", ")}")
    end
  end

  defp multicast(%{topologies: topologies}) do
    if Enum.any?(topologies, &(&1.module in [Mdns, Gossip])), do: [multicast()], else: []
  end

  defp multicast do
    able =
      for {name, flags, addresses} <- Net.interfaces(),
          :up in flags and :multicast in flags and :loopback not in flags,
          address <- addresses,
          tuple_size(address) == 4,
          do: {name, address}

    tried = for {name, address} <- able, do: {name, Net.multicast(address, @multicast_ms)}
    heard = for {name, :ok} <- tried, do: name

    cond do
      able == [] ->
        error(
          :multicast,
          :no_multicast_interface,
          "mDNS and gossip need a network interface with multicast, and none that is up has it",
          "ip link set dev eth0 multicast on; or use a strategy without multicast: :epmd, :dns, :kubernetes, :consul"
        )

      heard != [] ->
        ok(:multicast, "multicast comes back, on #{Enum.join(heard, ", ")}")

      true ->
        reasons = Enum.map_join(tried, ", ", fn {name, {:error, reason}} -> "#{name}: #{reason}" end)

        error(
          :multicast,
          :multicast_blocked,
          "multicast that is sent does not come back (#{reasons})",
          "let UDP to 224.0.0.251, port 5353, and to the gossip group pass the firewall of this host; most clouds never " <>
            "pass multicast on: use :dns, :kubernetes, :consul or :epmd there"
        )
    end
  end
end
