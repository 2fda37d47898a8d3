defmodule Foundation.Cluster.MdnsHostsTest do
  use ExUnit.Case, async: false

  alias Foundation.Cluster.Strategy.Mdns.Hosts

  @wifi {{192, 168, 1, 7}, {255, 255, 255, 0}}
  @bridge {{172, 17, 0, 1}, {255, 255, 0, 0}}
  @loopback {{127, 0, 0, 1}, {255, 0, 0, 0}}
  @networks [@loopback, @bridge, @wifi]

  test "an address of a common network is preferred, one of our own is not" do
    vpn = {10, 8, 0, 2}
    assert Hosts.choose([vpn, {172, 17, 0, 1}, {192, 168, 1, 9}], @networks) == {:ok, {192, 168, 1, 9}}
    # Another container of the same bridge.
    assert Hosts.choose([vpn, {172, 17, 0, 5}], @networks) == {:ok, {172, 17, 0, 5}}
    # A node of this host.
    assert Hosts.choose([vpn, {192, 168, 1, 7}], @networks) == {:ok, {192, 168, 1, 7}}
    assert Hosts.choose([vpn], @networks) == {:ok, vpn}
  end

  test "loopback addresses and those of IPv6 are none to be used" do
    assert Hosts.choose([{127, 0, 0, 1}, {0, 0, 0, 0, 0, 0, 0, 1}, {0xFE80, 0, 0, 0, 0, 0, 0, 1}], @networks) ==
             :none

    assert Hosts.choose([], @networks) == :none
  end

  test "a host is introduced when nothing resolves it, and left alone when something does" do
    lookup = :inet_db.res_option(:lookup)
    host = "host-#{System.unique_integer([:positive])}"
    on_exit(fn -> :inet_db.set_lookup(lookup) && :inet_db.del_host({192, 0, 2, 7}) end)

    assert {:error, :nxdomain} = :inet.getaddr(String.to_charlist(host), :inet)
    assert :ok = Hosts.introduce(:"a@#{host}", ["no address", "192.0.2.7"])
    assert {:ok, {192, 0, 2, 7}} = :inet.getaddr(String.to_charlist(host), :inet)

    before = :inet.getaddr(~c"localhost", :inet)
    assert :ok = Hosts.introduce(:a@localhost, ["192.0.2.8"])
    assert :inet.getaddr(~c"localhost", :inet) == before
  end
end
