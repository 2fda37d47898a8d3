defmodule Foundation.FabricPropertyTest do
  # Any term that goes over a channel arrives as it was: two endpoints of this VM, with a real link between them.
  use ExUnit.Case, async: false
  import Foundation.Eventually

  import :proper_types,
    only: [
      any: 0,
      bitstring: 0,
      exactly: 1,
      float: 0,
      frequency: 1,
      integer: 2,
      list: 1,
      tuple: 1,
      union: 1
    ]

  alias Foundation.Distributed.Channels.Settings
  alias Foundation.Distributed.Fabric.Deliverer
  alias Foundation.Native

  @a :property_fabric_a
  @b :property_fabric_b
  @me :property_fabric_receiver

  setup do
    [a, b] = for name <- [@a, @b], do: start(name)
    for fabric <- [a, b], do: :ok = Native.fabric_open(fabric, :plain, Settings.new(:plain, []))
    :ok = Native.fabric_open(a, :packed, Settings.new(:packed, compress_above: 64))
    :ok = Native.fabric_peer(a, @b, 1, Native.fabric_info(b).address)
    assert_eventually(Native.fabric_info(a).peers != [])
    Process.register(self(), @me)
    on_exit(fn -> for fabric <- [a, b], do: Native.fabric_stop(fabric) end)
    %{a: a}
  end

  defp start(name) do
    deliverer = start_supervised!({Deliverer, {name, 1}}, id: name)

    {:ok, fabric} =
      Native.fabric_start(
        %{
          cluster: "property",
          name: to_string(name),
          secret: "property",
          boot: 1,
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
        [deliverer]
      )

    fabric
  end

  @tag timeout: 120_000
  test "any terms arrive as they were, in order", %{a: a} do
    whole =
      :proper.forall(list(term()), fn terms ->
        Enum.all?([:plain, :packed], fn channel ->
          for term <- terms, do: :ok = put(a, channel, {:term, term})
          Enum.all?(terms, fn term -> got() === {:term, term} end)
        end)
      end)

    assert :proper.quickcheck(whole, [:quiet, numtests: 150, max_size: 30]) == true
  end

  defp put(fabric, channel, term) do
    options = {self(), nil, nil}

    case Native.fabric_send(fabric, channel, @b, @me, term) do
      :dirty -> Native.fabric_send_large(fabric, channel, @b, @me, term, options)
      answer -> answer
    end
  end

  defp got do
    receive do
      {:term, _} = message -> message
    after
      10_000 -> :nothing
    end
  end

  defp term do
    frequency([
      {6, any()},
      {2, integer(-300, 300)},
      {1, :proper_types.largeint()},
      {1, float()},
      {1, bitstring()},
      {2, large_binary()},
      {2, large_map()},
      {1, tuple([any(), large_binary(), large_map()])},
      {1, list(union([large_binary(), any()]))},
      {1, :proper_types.bind(list(tuple([any(), large_binary()])), &exactly(Map.new(&1)), false)},
      {1, exactly([1, 2 | :improper])},
      {1, deep()}
    ])
  end

  defp large_binary, do: :proper_types.bind(integer(1_000, 100_000), &exactly(:binary.copy("b", &1)), false)

  defp large_map,
    do: :proper_types.bind(integer(30, 200), &exactly(Map.new(1..&1, fn n -> {n, {:value, n}} end)), false)

  defp deep,
    do: :proper_types.bind(integer(1, 300), &exactly(Enum.reduce(1..&1, [], fn n, t -> {n, [t]} end)), false)
end
