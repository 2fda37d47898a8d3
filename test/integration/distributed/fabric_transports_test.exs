defmodule Foundation.Distributed.FabricTransportsTest do
  # The fabric over QUIC, and with certificates of an authority of one's own, between real nodes.
  use ExUnit.Case, async: false

  import Foundation.Eventually

  alias Foundation.Distributed.Fabric.Options
  alias Foundation.Distributed.{Channels, Fabric, Topology}
  alias Foundation.FabricPeers

  @moduletag timeout: 120_000

  defp start(name, fabric) do
    peer = FabricPeers.start(name, fabric: fabric)
    on_exit(fn -> stop(peer) end)
    peer
  end

  # It is linked to the test, and may be gone already.
  defp stop(peer) do
    FabricPeers.stop(peer)
  catch
    :exit, _ -> :ok
  end

  defp say(from, to, message) do
    target = {Foundation.Distributed.Fabric, to}
    FabricPeers.rpc(from, Channels, :send_message, [:data, target, message, [ack: true, timeout: 10_000]])
  end

  test "over QUIC, links and the membership's datagrams share one port" do
    [a, b] = for name <- ~w(quic_a quic_b), do: start(name, transport: :quic, topology: :full_mesh)
    :ok = FabricPeers.introduce(a, b)
    assert_eventually([b.node] == FabricPeers.rpc(a, Fabric, :nodes, []), 20_000)
    assert_eventually([a.node] == FabricPeers.rpc(b, Fabric, :nodes, []), 20_000)

    for {from, to} <- [{a, b}, {b, a}], size <- [10, 2_000_000] do
      assert say(from, to.node, String.duplicate("x", size)) == :ok
    end

    assert_eventually([b.node] == for(member <- FabricPeers.rpc(a, Topology, :members, []), do: member.node))
    {:ok, %{address: address}} = FabricPeers.rpc(a, Fabric, :info, [])
    [_, port] = Regex.run(~r/:(\d+)$/, address)
    assert {:error, :eaddrinuse} = :gen_udp.open(String.to_integer(port), ip: {127, 0, 0, 1})
  end

  describe "certificates of one's own authority" do
    setup do
      directory = Path.join(System.tmp_dir!(), "foundation_pem_#{System.unique_integer([:positive])}")
      File.mkdir_p!(directory)
      on_exit(fn -> File.rm_rf!(directory) end)
      %{directory: directory, root: root()}
    end

    test "open links, and a node of another authority opens none", %{directory: directory, root: root} do
      [a, b] =
        for name <- [:pem_a, :pem_b],
            do: start(name, name: name, cluster: "shop", pem: files(directory, root, name))

      intruder = start(:pem_c, name: :pem_c, cluster: "shop", pem: files(directory, root(), :pem_c))
      for peer <- [a, intruder], do: :ok = introduce(peer, b, :pem_b)
      assert_eventually(:pem_b in FabricPeers.rpc(a, Fabric, :nodes, []))
      assert say(a, :pem_b, :hello) == :ok
      assert_eventually(:pem_b in FabricPeers.rpc(intruder, Fabric, :nodes, []))

      options = [ack: true, timeout: 500]
      target = {Foundation.Distributed.Fabric, :pem_b}
      sent = FabricPeers.rpc(intruder, Channels, :send_message, [:data, target, :hello, options])
      assert {:error, _} = sent
      refused = fn -> elem(FabricPeers.rpc(intruder, Fabric, :info, []), 1).refused end
      stranger? = fn {reason, count} -> String.downcase(reason) == "stranger" and count > 0 end
      assert_eventually(Enum.any?(refused.(), stranger?))
    end
  end

  test "mistakes are named" do
    secret = [secret: "secret", name: :a]

    assert_raise ArgumentError, ~r/transport is :tls or :quic, got: :tcp/, fn ->
      Options.new([transport: :tcp] ++ secret)
    end

    assert_raise ArgumentError, ~r/pem is \[chain: path/, fn -> Options.new([pem: [chain: "x"]] ++ secret) end
  end

  defp introduce(a, b, name) do
    {:ok, %{address: address}} = FabricPeers.rpc(b, Fabric, :info, [])
    [_, port] = Regex.run(~r/:(\d+)$/, address)
    FabricPeers.rpc(a, Fabric, :add_peer, [name, {127, 0, 0, 1}, String.to_integer(port)])
  end

  # OTP's test certificates name the curve a second time with ECDSA, which standard verifiers refuse.
  @key {:rsa, 2048, 65_537}

  defp root, do: :public_key.pkix_test_root_cert(~c"company", digest: :sha256, key: @key)

  # The node's certificate names it by a URI.
  defp files(directory, root, name) do
    uri = {:uniformResourceIdentifier, ~c"foundation://shop/#{name}"}
    extension = {:Extension, {2, 5, 29, 17}, false, [uri]}
    peer = [digest: :sha256, key: @key, extensions: [extension]]
    made = :public_key.pkix_test_data(%{root: root, intermediates: [], peer: peer})
    {type, key} = made[:key]

    [
      chain: write(directory, "#{name}.pem", [{:Certificate, made[:cert], :not_encrypted}]),
      key: write(directory, "#{name}.key", [{type, key, :not_encrypted}]),
      roots: write(directory, "#{name}_ca.pem", [{:Certificate, root.cert, :not_encrypted}])
    ]
  end

  defp write(directory, file, entries) do
    path = Path.join(directory, file)
    File.write!(path, :public_key.pem_encode(entries))
    path
  end
end
