defmodule Foundation.Cluster.Doctor.Own do
  @moduledoc false
  # What can be wrong with this node alone: its name, cookie, epmd and port.

  import Foundation.Cluster.Doctor.Finding

  alias Foundation.Cluster.Doctor.Net

  @short_cookie 10

  @spec findings() :: [Foundation.Cluster.Doctor.Finding.t()]
  def findings do
    if Node.alive?(),
      do: [alive(), name(), host(), cookie(), epmd(), registered(), listen()],
      else: [not_alive(), cookie_file(), epmd()]
  end

  # -- name --------------------------------------------------------------------------------------------------------

  defp alive, do: ok(:distribution, "this node is #{node()}, and others can be connected")

  defp not_alive do
    error(
      :distribution,
      :not_alive,
      "this node has no name, so no other can connect to it",
      "start it with --sname app or --name app@host (a release does, by RELEASE_DISTRIBUTION), or let " <>
        "`config :foundation, cluster: true` start the distribution"
    )
  end

  defp name do
    host = Net.host(node())
    long = :net_kernel.longnames()

    cond do
      host in ["nohost", ""] ->
        error(
          :name,
          :no_host,
          "the name #{node()} has no usable host part",
          "start it with --name app@a.host.name"
        )

      host in ["localhost", "127.0.0.1", "localhost.localdomain", "::1"] ->
        warning(
          :name,
          :loopback_name,
          "the name #{node()} is good on this host only: on every other, #{host} means that other host",
          "unless all nodes run on this host, start it with --name app@ADDRESS, an address that others can reach"
        )

      long and not Net.long?(host) ->
        warning(
          :name,
          :short_host,
          "the node uses long names, but its host part #{host} has no dot",
          "start it with --name app@host.domain, or all nodes with --sname"
        )

      true ->
        ok(
          :name,
          "the name is a #{if long, do: "long", else: "short"} one; so must be those of all other nodes"
        )
    end
  end

  defp host do
    host = Net.host(node())

    case Net.address(host) do
      {:error, _} ->
        error(
          :host,
          :host_unknown,
          "the host part of this node's own name, #{host}, does not resolve here; other nodes will hardly do better",
          "add #{host} to DNS or to /etc/hosts of every host, or name the node by its address: --name app@ADDRESS"
        )

      {:ok, address} ->
        if Net.own?(address) do
          ok(:host, "#{host} is #{Net.shown(address)}, an address of this host")
        else
          error(
            :host,
            :host_elsewhere,
            "#{host}, the host part of this node's name, is #{Net.shown(address)}, which is no address of this host: " <>
              "others will look for this node elsewhere",
            "correct #{host} in DNS or /etc/hosts, or name the node by an address that it has: #{own_addresses()}"
          )
        end
    end
  end

  defp own_addresses do
    text =
      for {_, _, addresses} <- Net.interfaces(),
          address <- addresses,
          not Net.loopback?(address),
          tuple_size(address) == 4,
          do: Net.shown(address)

    if text == [], do: "none but the loopback's", else: Enum.join(text, ", ")
  end

  # -- cookie ------------------------------------------------------------------------------------------------------

  defp cookie do
    cookie = :erlang.get_cookie()

    cond do
      cookie == :nocookie ->
        error(
          :cookie,
          :no_cookie,
          "this node has no cookie",
          "give all nodes the same with --cookie, or RELEASE_COOKIE"
        )

      byte_size(Atom.to_string(cookie)) < @short_cookie ->
        warning(
          :cookie,
          :weak_cookie,
          "the cookie is short; whoever guesses it runs code here",
          "use the same random one on all nodes, for example from: openssl rand -hex 20"
        )

      true ->
        ok(:cookie, "a cookie is set; it must be the same on all nodes")
    end
  end

  # Without a name the cookie's file has not been read yet, and it is what often keeps a name from being had.
  defp cookie_file do
    path = System.get_env("HOME", "/") |> Path.join(".erlang.cookie")

    case File.stat(path) do
      {:ok, stat} ->
        if Net.open_to_others?(stat) do
          error(
            :cookie,
            :cookie_file_open,
            "others can read #{path}; Erlang refuses such a file and does not start the distribution",
            "chmod 400 #{path}"
          )
        else
          ok(:cookie, "the cookie would come from #{path}")
        end

      {:error, :enoent} ->
        ok(
          :cookie,
          "there is no #{path}; unless --cookie is given, Erlang will write one with a cookie of its own"
        )

      {:error, reason} ->
        error(
          :cookie,
          :cookie_file,
          "#{path} cannot be read: #{inspect(reason)}",
          "make it readable for this user, or give --cookie"
        )
    end
  end

  # -- epmd and ports ----------------------------------------------------------------------------------------------

  defp epmd do
    port = Net.epmd_port()

    cond do
      :init.get_argument(:epmd_module) != :error ->
        ok(:epmd, "another module does what epmd does")

      match?({:ok, _}, Net.epmd_names({127, 0, 0, 1})) ->
        ok(:epmd, "epmd answers on port #{port}")

      true ->
        error(
          :epmd,
          :no_epmd,
          "epmd does not answer on port #{port} of this host, so no other node can find out this one's port",
          "start it with: epmd -daemon (on the same ERL_EPMD_PORT as the nodes), and have it started with the host"
        )
    end
  end

  defp registered do
    name = Net.basename(node())

    with :error <- :init.get_argument(:epmd_module),
         {:ok, names} <- Net.epmd_names({127, 0, 0, 1}) do
      case {names[name], listening()} do
        {nil, _} ->
          error(
            :registered,
            :not_registered,
            "epmd on this host does not know #{name}: it was restarted after this node was started, or is another one",
            "restart this node, and see that only one epmd runs and that nothing restarts it"
          )

        {port, own} when own in [port, nil] ->
          ok(:registered, "epmd knows #{name} at port #{port}")

        {port, own} ->
          error(
            :registered,
            :wrong_port,
            "epmd has #{name} at port #{port}, but this node listens on #{own}: another node has the same name",
            "give one of the two another name and restart it"
          )
      end
    else
      _ -> ok(:registered, "not looked at, since epmd does not answer or is not used")
    end
  end

  # The port that the distribution listens on, by the sockets that this VM has.
  defp listening do
    case for {_, pid, _, _, _} <- listeners(),
             is_port(pid),
             {:ok, {_, port}} <- [:inet.sockname(pid)],
             do: port do
      [port | _] -> port
      [] -> nil
    end
  end

  defp listeners do
    case :sys.get_state(:net_kernel, 2_000) do
      state when is_tuple(state) ->
        state |> Tuple.to_list() |> Enum.find([], &match?([listen | _] when elem(listen, 0) == :listen, &1))

      _ ->
        []
    end
  catch
    :exit, _ -> []
  end

  defp listen do
    case Application.get_env(:kernel, :inet_dist_use_interface) do
      nil ->
        ok(:listen, "the distribution listens on every network interface, #{ports()}")

      address ->
        if Net.loopback?(address) and not Net.loopback?(own_address()) do
          error(
            :listen,
            :loopback_only,
            "the distribution listens on #{Net.shown(address)} only (inet_dist_use_interface): no other host can connect",
            "remove inet_dist_use_interface, or set it to an address that others reach"
          )
        else
          ok(:listen, "the distribution listens on #{Net.shown(address)}, #{ports()}")
        end
    end
  end

  defp own_address do
    case Net.address(Net.host(node())) do
      {:ok, address} -> address
      {:error, _} -> {0, 0, 0, 0}
    end
  end

  defp ports do
    case {Application.get_env(:kernel, :inet_dist_listen_min),
          Application.get_env(:kernel, :inet_dist_listen_max)} do
      {nil, _} -> "at a port that changes with each start (for a firewall, set inet_dist_listen_min and _max)"
      {min, nil} -> "at port #{min} or above"
      {min, max} -> "at a port from #{min} to #{max}"
    end
  end
end
