defmodule Foundation.Distributed.Overlay.Options do
  @moduledoc false
  # What `config :foundation, fabric: [topology: …]` may say, checked and completed.

  alias Foundation.Distributed.Fabric

  @topologies [:full_mesh, :hyparview, :client_server, :pub_sub]
  @known [:start, :profile, :role, :meta, :active, :passive, :probe_ms, :suspicion_ms]

  @doc "The topologies there are."
  @spec topologies() :: [atom]
  def topologies, do: @topologies

  @doc "The options of an overlay as the native library takes them, or nil for none; raises ArgumentError."
  @spec new(true | keyword) :: map | nil
  def new(given) do
    fabric = if given == true, do: [], else: given

    case Keyword.get(fabric, :topology, :full_mesh) do
      false -> nil
      topology when topology in @topologies -> complete([start: topology], given)
      options -> complete(checked(options), given)
    end
  end

  defp checked(options) do
    unless Keyword.keyword?(options),
      do: bad(:topology, options, "false, one of #{inspect(@topologies)} or a keyword list")

    for {key, _} <- options, key not in @known do
      raise ArgumentError,
            "fabric: topology has no option #{inspect(key)}; it has #{Enum.map_join(@known, ", ", &inspect/1)}"
    end

    options
  end

  defp complete(options, given) do
    fabric = Fabric.Options.new(given)

    %{
      cluster: fabric.cluster,
      secret: fabric.secret,
      accept: fabric.accept,
      address: fabric.advertise || address(fabric),
      seed: :crypto.strong_rand_bytes(32),
      topology: one_of(:start, Keyword.get(options, :start, :full_mesh), @topologies),
      profile: one_of(:profile, Keyword.get(options, :profile, :lan), [:lan, :wan]),
      role: one_of(:role, Keyword.get(options, :role, :peer), [:peer, :server, :client]),
      meta: meta(Keyword.get(options, :meta, "")),
      active: number(:active, options[:active], 2..64),
      passive: number(:passive, options[:passive], 2..1024),
      probe_ms: number(:probe_ms, options[:probe_ms], 10..60_000),
      suspicion_ms: number(:suspicion_ms, options[:suspicion_ms], 10..600_000)
    }
  end

  # A node that listens everywhere is reached at the address of its name, else at its first interface.
  defp address(%{bind: "0.0.0.0:" <> _}), do: own_address(:inet)
  defp address(%{bind: "[::]:" <> _}), do: own_address(:inet6)
  defp address(_fabric), do: nil

  defp own_address(family) do
    ip = of_name(family) || of_interface(family) || loopback(family)
    Fabric.Options.address(ip, 0)
  end

  defp of_name(family) do
    with [_, host] <- String.split(Atom.to_string(node()), "@"),
         true <- node() != :nonode@nohost,
         {:ok, ip} <- :inet.getaddr(String.to_charlist(host), family),
         true <- not loopback?(ip) or :inet.parse_address(String.to_charlist(host)) == {:ok, ip} do
      ip
    else
      _ -> nil
    end
  end

  defp of_interface(family) do
    {:ok, interfaces} = :inet.getifaddrs()

    Enum.find_value(interfaces, fn {_name, settings} ->
      flags = Keyword.get(settings, :flags, [])

      if :up in flags and :running in flags and :loopback not in flags do
        Enum.find(Keyword.get_values(settings, :addr), &usable?(&1, family))
      end
    end)
  end

  defp usable?(ip, :inet), do: tuple_size(ip) == 4
  defp usable?(ip, :inet6), do: tuple_size(ip) == 8 and elem(ip, 0) != 0xFE80

  defp loopback(:inet), do: {127, 0, 0, 1}
  defp loopback(:inet6), do: {0, 0, 0, 0, 0, 0, 0, 1}

  defp loopback?({127, _, _, _}), do: true
  defp loopback?({0, 0, 0, 0, 0, 0, 0, 1}), do: true
  defp loopback?(_ip), do: false

  defp one_of(key, value, allowed) do
    if value in allowed, do: value, else: bad(key, value, "one of #{inspect(allowed)}")
  end

  defp meta(meta) when is_binary(meta) and byte_size(meta) <= 512, do: meta
  defp meta(meta), do: bad(:meta, meta, "a binary of at most 512 bytes")

  defp number(_key, nil, _range), do: nil
  defp number(key, value, first..last//_), do: within(key, value, first, last)

  defp within(_key, value, first, last) when is_integer(value) and value >= first and value <= last, do: value
  defp within(key, value, first, last), do: bad(key, value, "an integer from #{first} to #{last}")

  defp bad(key, value, expected),
    do: raise(ArgumentError, "fabric: topology: #{key} is #{expected}, got: #{inspect(value)}")
end
