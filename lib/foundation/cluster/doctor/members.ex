defmodule Foundation.Cluster.Doctor.Members do
  @moduledoc false
  # What can be wrong among nodes that are connected: versions, clocks, tick times, hidden nodes, drains, and views of the
  # cluster that differ. Each member is asked once, side by side.

  import Foundation.Cluster.Doctor.Finding

  alias Foundation.Cluster.Membership

  @ask_ms 3_000
  @skew_ms 1_000
  @otp_range 2

  @spec findings(map) :: [Foundation.Cluster.Doctor.Finding.t()]
  def findings(_context) do
    members = Node.list(:visible)
    {answers, silent} = ask(members)
    own = facts()

    [draining(own), hidden()] ++
      silent(silent) ++
      if answers == [],
        do: [],
        else: [
          otp(own, answers),
          foundation(own, answers),
          clock(answers),
          ticktime(own, answers),
          views(members, answers)
        ]
  end

  @doc false
  # What one node says of itself; called on each member.
  @spec facts() :: map
  def facts do
    %{
      node: node(),
      otp: :otp_release |> :erlang.system_info() |> List.to_integer(),
      elixir: System.version(),
      foundation: to_string(Application.spec(:foundation, :vsn) || ""),
      time: System.os_time(:millisecond),
      ticktime: ticktime(),
      visible: Node.list(:visible)
    }
  end

  defp ticktime do
    case :net_kernel.get_net_ticktime() do
      {_, seconds} -> seconds
      seconds when is_integer(seconds) -> seconds
      _ -> nil
    end
  end

  # {node, facts, clock's difference in ms} of those who answer, and the others.
  defp ask(members) do
    sent = System.os_time(:millisecond)
    replies = :erpc.multicall(members, __MODULE__, :facts, [], @ask_ms)
    took = System.os_time(:millisecond) - sent

    Enum.zip(members, replies)
    |> Enum.reduce({[], []}, fn
      {node, {:ok, facts}}, {answers, silent} ->
        {[{node, facts, offset(facts.time, sent, took)} | answers], silent}

      {node, _}, {answers, silent} ->
        {answers, [node | silent]}
    end)
  end

  # Within the round trip anything is possible.
  defp offset(time, sent, took) do
    cond do
      time < sent -> time - sent
      time > sent + took -> time - sent - took
      true -> 0
    end
  end

  defp draining(own) do
    if Membership.draining?(own.node) do
      warning(
        :drain,
        :draining,
        "this node is draining, or has been drained: it gets no new work and is not connected again",
        "Foundation.Cluster.resume(), or start it again"
      )
    else
      ok(:drain, "this node is not draining")
    end
  end

  defp hidden do
    case Node.list(:hidden) do
      [] ->
        ok(:hidden, "no hidden nodes")

      nodes ->
        warning(
          :hidden,
          :hidden_nodes,
          "#{list(nodes)} #{verb(nodes, "is", "are")} connected as hidden and no #{verb(nodes, "member", "members")} of the cluster",
          "if they should be, start them without -hidden; a remote console is hidden on purpose"
        )
    end
  end

  defp silent([]), do: []

  defp silent(nodes) do
    [
      warning(
        :members,
        :no_answer,
        "no answer from #{list(nodes)}: without Foundation, or overloaded",
        "add Foundation there, or look at the load"
      )
    ]
  end

  defp otp(own, answers) do
    far = for {node, %{otp: otp}, _} <- answers, abs(otp - own.otp) > @otp_range, do: "#{node} (#{otp})"

    if far == [] do
      ok(:otp, "Erlang/OTP #{own.otp} here, and within two releases elsewhere")
    else
      error(
        :otp,
        :otp_skew,
        "this node has Erlang/OTP #{own.otp}, and #{Enum.join(far, ", ")}: OTP promises to work with two releases before and after",
        "bring the nodes within two releases of one another"
      )
    end
  end

  defp foundation(own, answers) do
    case for {node, %{foundation: version}, _} <- answers,
             version != own.foundation,
             do: "#{node} (#{version})" do
      [] ->
        ok(:foundation, "Foundation #{own.foundation} everywhere")

      others ->
        warning(
          :foundation,
          :version_skew,
          "this node has Foundation #{own.foundation}, and #{Enum.join(others, ", ")}",
          "good while a new version is rolled out; finish it"
        )
    end
  end

  defp clock(answers), do: answers |> Enum.map(fn {node, _, offset} -> {node, offset} end) |> clocks()

  @doc false
  # The finding for the clocks' differences.
  @spec clocks([{node, integer}]) :: Foundation.Cluster.Doctor.Finding.t()
  def clocks(offsets) do
    case for {node, offset} <- offsets, abs(offset) > @skew_ms, do: "#{node} by #{signed(offset)} s" do
      [] ->
        ok(:clock, "the clocks differ by less than #{div(@skew_ms, 1_000)} s")

      far ->
        warning(
          :clock,
          :clock_skew,
          "the clocks differ from this node's: #{Enum.join(far, ", ")}; certificates, leases and logs go by them",
          "run an NTP client on every host, chrony for example"
        )
    end
  end

  defp signed(ms), do: if(ms > 0, do: "+", else: "") <> Float.to_string(Float.round(ms / 1_000, 1))

  defp ticktime(own, answers) do
    case for {node, %{ticktime: seconds}, _} <- answers, seconds != own.ticktime, do: "#{node} (#{seconds} s)" do
      [] ->
        ok(:ticktime, "the same net_ticktime everywhere: #{own.ticktime} s")

      others ->
        error(
          :ticktime,
          :ticktime_skew,
          "net_ticktime is #{own.ticktime} s here, and differs on #{Enum.join(others, ", ")}: healthy connections will be cut",
          "set the same -kernel net_ticktime on all nodes"
        )
    end
  end

  # A member that another one sees and this one does not, or the other way round.
  defp views(members, answers) do
    mine = MapSet.new([node() | members])

    lacking =
      for {node, facts, _} <- answers,
          theirs = MapSet.new([node | facts.visible]),
          missing = Enum.sort(MapSet.difference(mine, theirs)) ++ Enum.sort(MapSet.difference(theirs, mine)),
          missing != [],
          do: "#{node} (#{list(missing)})"

    if lacking == [] do
      ok(:views, "all members see the same #{MapSet.size(mine)} nodes")
    else
      error(
        :views,
        :partial,
        "not all nodes see all others: there are differences with #{Enum.join(lacking, "; ")}",
        "run the doctor on a node that lacks another; unless connect_all is off on purpose, a firewall is between these two"
      )
    end
  end

  defp list(nodes), do: Enum.map_join(nodes, ", ", &to_string/1)
  defp verb([_], one, _many), do: one
  defp verb(_, _one, many), do: many
end
