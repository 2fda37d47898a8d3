defmodule Foundation.Distributed.BroadcastWayTest do
  use ExUnit.Case, async: true

  alias Foundation.Distributed.Channels
  alias Foundation.Distributed.Channels.Broadcast

  @topologies [nil, :full_mesh, :hyparview, :client_server, :pub_sub]
  @urgencies [:urgent, :normal, :background]

  test "few nodes are told directly, whatever else is so" do
    for topology <- @topologies,
        urgency <- @urgencies,
        bytes <- [0, 1_000_000],
        count <- [0, 1, 15],
        do: assert(Broadcast.choose(count, bytes, urgency, topology) == :direct)
  end

  test "what is large goes in stages" do
    for topology <- @topologies,
        urgency <- @urgencies,
        count <- [16, 1_000],
        do: assert(Broadcast.choose(count, 64 * 1024, urgency, topology) == :staged)
  end

  test "the overlay carries what is small where it knows all nodes" do
    for urgency <- @urgencies, do: assert(Broadcast.choose(500, 100, urgency, nil) == :direct)
    for topology <- tl(@topologies), do: assert(Broadcast.choose(16, 100, :background, topology) == :gossip)

    for topology <- [:hyparview, :client_server, :pub_sub],
        urgency <- [:urgent, :normal],
        do: assert(Broadcast.choose(16, 100, urgency, topology) == :tree)
  end

  test "a full mesh is told directly until it is very large" do
    assert Broadcast.choose(63, 100, :normal, :full_mesh) == :direct
    assert Broadcast.choose(64, 100, :normal, :full_mesh) == :tree
  end

  test "other ways and urgencies are refused by name" do
    assert_raise ArgumentError, ~r/via is one of .*:tree.*got: :sideways/, fn ->
      Channels.broadcast(:events, :hello, via: :sideways)
    end

    assert_raise ArgumentError, ~r/urgency is one of .*got: :now/, fn ->
      Channels.broadcast(:events, :hello, urgency: :now)
    end
  end

  test "groups are about as large as they are many" do
    for count <- [0, 1, 2, 16, 17, 100] do
      groups = Broadcast.groups(Enum.to_list(1..count//1))
      assert groups |> List.flatten() |> length() == count
      assert Enum.all?(groups, &(length(&1) <= ceil(:math.sqrt(count))))
    end
  end
end
