defmodule Foundation.Cluster.GossipPacketTest do
  # The packets of gossip: as libcluster writes them, and whatever else a network brings.
  use ExUnit.Case, async: true

  alias Foundation.Cluster.Strategy.Gossip.Packet
  alias Foundation.LibclusterGossip, as: Theirs

  test "what libcluster writes is read, and what we write it reads" do
    for secret <- [nil, "somepassword", ""],
        node <- [:"a@127.0.0.1", :"shop-1@ip-10-0-0-1.internal", :ä@host] do
      assert Packet.decode(Theirs.packet(node, secret), secret) == {:ok, Atom.to_string(node)}
      assert Theirs.read(Packet.encode(node, secret), secret) == {:ok, node}
    end
  end

  test "the plain packet is libcluster's byte for byte" do
    assert Packet.encode(:a@b, nil) == "heartbeat::" <> :erlang.term_to_binary(%{node: :a@b})
  end

  test "an older runtime's names, and pairs besides the name" do
    old = <<"heartbeat::", 131, 116, 1::32, 100, 4::16, "node", 100, 3::16, "a@b">>
    assert Packet.decode(old, nil) == {:ok, "a@b"}
    more = "heartbeat::" <> :erlang.term_to_binary(%{node: :a@b, version: 3, vsn: "1", x: 70_000})
    assert Packet.decode(more, nil) == {:ok, "a@b"}
  end

  test "another secret, or none, or one too many" do
    assert Packet.decode(Packet.encode(:a@b, "one"), "other") == :error
    assert Packet.decode(Packet.encode(:a@b, "one"), nil) == :error
    assert Packet.decode(Packet.encode(:a@b, nil), "one") == :error
  end

  test "what is no heartbeat" do
    bad = [
      "",
      "heartbeat::",
      "heartbeat::" <> :erlang.term_to_binary(:a@b),
      "heartbeat::" <> :erlang.term_to_binary(%{name: :a@b}),
      "heartbeat::" <> :erlang.term_to_binary(%{node: "a@b"}),
      "heartbeat::" <> :erlang.term_to_binary(%{node: :nothing}),
      "heartbeat::" <> :erlang.term_to_binary(%{node: :a@b@c}),
      "heartbeat::" <> :erlang.term_to_binary(%{node: :@}),
      "heartbeat::" <> :erlang.term_to_binary(%{node: :"a @b"}),
      "heartbeat::" <> :erlang.term_to_binary(%{node: :"a\n@b"}),
      "heartbeat::" <> :erlang.term_to_binary(%{:node => :a@b, [1] => 2}),
      "heartbeat::" <> :erlang.term_to_binary(%{node: :a@b}) <> "more",
      "heartbeat::" <> :erlang.term_to_binary(%{node: :a@b}, compressed: 9) <> <<0>>,
      "heartbeat::" <> <<131, 80, 0xFFFFFFFF::32, 0>>,
      "heartbeat::" <> <<131, 116, 0xFFFFFFFF::32, 119, 4, "node">>,
      "heartbeat::" <> :erlang.term_to_binary(fn -> :boo end),
      :binary.copy("x", 65_000)
    ]

    for packet <- bad, secret <- [nil, "s"], do: assert(Packet.decode(packet, secret) == :error)
    cut = "heartbeat::" <> :erlang.term_to_binary(%{node: :a@b})
    for size <- 0..(byte_size(cut) - 1), do: assert(Packet.decode(binary_part(cut, 0, size), nil) == :error)
  end

  test "random bytes make neither terms nor atoms" do
    :rand.seed(:exsss, {1, 2, 3})
    before = :erlang.system_info(:atom_count)

    for _ <- 1..20_000 do
      bytes = :rand.bytes(:rand.uniform(64))
      assert Packet.decode(bytes, nil) == :error
      assert Packet.decode(bytes, "secret") == :error
      name = "n#{:rand.uniform(1_000_000_000)}@h#{:rand.uniform(1_000_000)}"
      size = byte_size(name)

      assert {:ok, ^name} =
               Packet.decode(<<"heartbeat::", 131, 116, 1::32, 119, 4, "node", 119, size, name::binary>>, nil)
    end

    # Far fewer than the names; other tests make some meanwhile.
    assert :erlang.system_info(:atom_count) - before < 10_000
  end

  test "padding that is none" do
    plain = Packet.encode(:a@b, nil)
    key = :crypto.hash(:sha256, "s")
    iv = :binary.copy(<<7>>, 16)
    seal = &(iv <> :crypto.crypto_one_time(:aes_256_cbc, key, iv, &1, true))
    short = 16 - rem(byte_size(plain), 16)
    padded = fn size -> seal.(plain <> :binary.copy(<<size>>, size)) end
    assert Packet.decode(padded.(short), "s") == {:ok, "a@b"}
    # As libcluster has it: a block at most, and every byte of it.
    assert Packet.decode(padded.(short + 16), "s") == :error
    assert Packet.decode(seal.(plain <> :binary.copy(<<0>>, short)), "s") == :error
    assert Packet.decode(seal.(plain <> :binary.copy(<<1>>, short - 1) <> <<short>>), "s") == :error
    assert Packet.decode(seal.(:binary.copy(<<200>>, 16)), "s") == :error
  end

  test "a changed byte in a sealed packet changes no more than the packet" do
    packet = Packet.encode(:"some_node@some.host", "secret")

    for at <- 0..(byte_size(packet) - 1) do
      {head, <<byte, tail::binary>>} =
        {binary_part(packet, 0, at), binary_part(packet, at, byte_size(packet) - at)}

      changed = <<head::binary, Bitwise.bxor(byte, 1), tail::binary>>
      assert match?({:ok, _}, Packet.decode(changed, "secret")) or Packet.decode(changed, "secret") == :error
    end
  end
end
