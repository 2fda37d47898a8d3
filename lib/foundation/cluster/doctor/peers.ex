defmodule Foundation.Cluster.Doctor.Peers do
  @moduledoc false
  # Why a node that should be in the cluster is not: goes the way that a connection goes, step for step, and stops at the one
  # that fails.

  import Foundation.Cluster.Doctor.Finding

  alias Foundation.Cluster.Doctor.{Handshake, Net}
  alias Foundation.Cluster.Membership

  @at_once 16
  @limit 64
  @step_ms 20_000

  @doc "One finding for each of the nodes; at most 64 of them are looked at."
  @spec findings(map) :: [Foundation.Cluster.Doctor.Finding.t()]
  def findings(%{wanted: wanted, ask: ask}) do
    connected = Node.list(:visible)
    {there, missing} = Enum.split_with(wanted -- [node()], &(&1 in connected))
    looked_at = Enum.take(missing, @limit)

    present = if there == [], do: [], else: [ok(:peer, "connected to #{names(there)}")]

    examined =
      looked_at
      |> Task.async_stream(&{&1, examine(&1, ask)},
        max_concurrency: @at_once,
        timeout: @step_ms,
        on_timeout: :kill_task
      )
      |> Enum.zip(looked_at)
      |> Enum.map(fn
        {{:ok, {_node, finding}}, _} -> finding
        {{:exit, _}, node} -> undecided(node)
      end)

    present ++ examined ++ many(missing)
  end

  defp names(nodes),
    do:
      nodes
      |> Enum.take(8)
      |> Enum.map_join(", ", &to_string/1)
      |> then(&if(length(nodes) > 8, do: &1 <> ", …", else: &1))

  defp many(missing) when length(missing) > @limit do
    [
      warning(
        :peer,
        :too_many,
        "#{length(missing)} nodes were found that are not connected; the first #{@limit} were looked at",
        "run the doctor again when these are in order"
      )
    ]
  end

  defp many(_missing), do: []

  defp undecided(node) do
    error(
      :peer,
      :no_answer,
      "whether #{node} can be reached was not known after #{div(@step_ms, 1_000)} s",
      "look at the network in between"
    )
  end

  # -- step for step -----------------------------------------------------------------------------------------------

  defp examine(node, ask) do
    with :ok <- draining(node),
         :ok <- kind(node),
         {:ok, address} <- resolve(node),
         {:ok, port} <- port(node, address),
         :ok <- handshake(node, address, port) do
      connectable(node, ask)
    end
  end

  defp draining(node) do
    if Membership.draining?(node) do
      warning(
        :peer,
        :draining,
        "#{node} is draining, or has left after a drain, and is not connected for that reason",
        "start it again, or call Foundation.Cluster.resume() on it"
      )
    else
      :ok
    end
  end

  defp kind(node) do
    host = Net.host(node)

    cond do
      not Node.alive?() ->
        :ok

      :net_kernel.longnames() and not Net.long?(host) ->
        error(
          :peer,
          :short_name,
          "#{node} has a short name and this node a long one; nodes of the two kinds do not connect",
          "start all nodes with --sname, or all with --name"
        )

      not :net_kernel.longnames() and Net.long?(host) ->
        error(
          :peer,
          :long_name,
          "#{node} has a long name and this node a short one; nodes of the two kinds do not connect",
          "start all nodes with --name, or all with --sname"
        )

      true ->
        :ok
    end
  end

  defp resolve(node) do
    host = Net.host(node)

    case Net.address(host) do
      {:ok, address} ->
        {:ok, address}

      {:error, _} ->
        error(
          :peer,
          :unknown_host,
          "the host name #{host} of #{node} does not resolve on this host",
          "add #{host} to DNS or /etc/hosts here, or name that node by its address: --name #{Net.basename(node)}@ADDRESS"
        )
    end
  end

  defp port(node, address) do
    at = "#{Net.host(node)} (#{Net.shown(address)})"
    epmd = Net.epmd_port()

    case Net.epmd_names(address) do
      {:ok, names} ->
        registered(node, names, at)

      {:error, :econnrefused} ->
        error(
          :peer,
          :epmd_refused,
          "#{at} refuses connections to port #{epmd}: epmd does not run there, so no node does",
          "start the node there; it starts epmd. If epmd listens elsewhere, use the same ERL_EPMD_PORT on all hosts"
        )

      {:error, reason} ->
        error(
          :peer,
          :epmd_unreachable,
          "port #{epmd} (epmd) of #{at} cannot be reached: #{words(reason)}",
          "see that the host is up, and let TCP port #{epmd} pass the firewalls between the hosts"
        )
    end
  end

  defp registered(node, names, at) do
    name = Net.basename(node)

    case names do
      %{^name => port} ->
        {:ok, port}

      _ ->
        known =
          if names == %{},
            do: "none",
            else: names |> Map.keys() |> Enum.sort() |> Enum.take(8) |> Enum.join(", ")

        error(
          :peer,
          :not_running,
          "epmd of #{at} knows no node called #{name} (it knows: #{known})",
          "start #{node}, or correct the name that is looked for"
        )
    end
  end

  defp handshake(node, address, port) do
    at = "port #{port} of #{Net.host(node)}"

    if plain?() do
      case Handshake.probe(address, port, :erlang.get_cookie()) do
        {:ok, peer} -> same(node, peer)
        {:error, reason} -> failed(node, at, reason)
      end
    else
      reachable(node, at, Net.connect(address, port, []))
    end
  end

  # Over TLS or another carrier the handshake is not ours to play.
  defp plain?,
    do: :init.get_argument(:proto_dist) in [:error, {:ok, [[~c"inet_tcp"]]}, {:ok, [[~c"inet6_tcp"]]}]

  defp reachable(_node, _at, {:ok, socket}), do: :gen_tcp.close(socket)
  defp reachable(node, at, {:error, reason}), do: failed(node, at, {:connect, reason})

  defp same(node, peer) do
    if peer == Atom.to_string(node) do
      :ok
    else
      error(
        :peer,
        :other_name,
        "where #{node} should be, a node answers that calls itself #{peer}",
        "look for #{peer} instead, or start that node with --name #{node}"
      )
    end
  end

  defp failed(node, at, {:connect, :econnrefused}) do
    error(
      :peer,
      :port_closed,
      "#{at}, at which #{node} is registered, refuses connections: the node has ended without epmd noticing, or a firewall rejects",
      "see that the node runs; for a firewall, fix its ports by inet_dist_listen_min and _max and let them pass"
    )
  end

  defp failed(node, at, {:connect, reason}) do
    error(
      :peer,
      :port_blocked,
      "#{at}, at which #{node} is registered, cannot be reached: #{words(reason)}; epmd there can",
      "a firewall lets epmd's port pass and not the node's: fix it by inet_dist_listen_min and _max, and let it pass"
    )
  end

  defp failed(node, at, :silent) do
    error(
      :peer,
      :silent,
      "#{at} takes the connection for #{node} and says nothing: the node hangs, or is frozen",
      "look at that node; restart it if it does not come back"
    )
  end

  defp failed(node, _at, :cookie) do
    error(
      :peer,
      :wrong_cookie,
      "#{node} has another cookie than this node",
      "start both with the same: --cookie or RELEASE_COOKIE; without, each user has one in ~/.erlang.cookie"
    )
  end

  defp failed(node, _at, {:refused, "alive"}), do: ok(:peer, "#{node} has a connection to this node already")

  defp failed(node, _at, {:refused, status}) do
    error(
      :peer,
      :refused,
      "#{node} refuses this node (#{status})",
      "remove the restriction of :net_kernel.allow/1 on that node, or add this node's name to it"
    )
  end

  defp failed(node, at, _reason) do
    error(
      :peer,
      :not_erlang,
      "what listens on #{at} is no Erlang node that this one understands: another protocol, TLS distribution, or a release before OTP 23",
      "use -proto_dist inet_tls on all nodes or on none, and OTP 25 or later on #{node}"
    )
  end

  # -- nothing in the way ------------------------------------------------------------------------------------------

  defp connectable(node, :look), do: ok(:peer, "#{node} can be reached and has the same cookie")

  defp connectable(node, :connect) do
    case :net_kernel.connect_node(node) do
      true ->
        warning(
          :peer,
          :late,
          "#{node} was not connected; it is now, the doctor has connected it",
          "see why no strategy did: the findings on strategies, and those of that node"
        )

      _ ->
        error(
          :peer,
          :unexplained,
          "#{node} can be reached and has the same cookie, but no connection comes about",
          "look into the log of #{node}: it has the reason, an overlapping connection in :global for example"
        )
    end
  end

  defp words(:timeout), do: "no answer, as when a firewall drops packets or the host is down"
  defp words(:ehostunreach), do: "there is no way to that host, or it is down"
  defp words(:enetunreach), do: "there is no way to that network"
  defp words(reason), do: inspect(reason)
end
