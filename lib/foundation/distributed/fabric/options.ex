defmodule Foundation.Distributed.Fabric.Options do
  @moduledoc false
  # What `config :foundation, fabric: true | options` may say, checked and completed.

  alias Foundation.Distributed.Channels.Settings

  @known [
    :cluster,
    :name,
    :secret,
    :accept,
    :bind,
    :port,
    :advertise,
    :channels,
    :idle_ms,
    :stall_ms,
    :forget_ms,
    :backoff_ms,
    :max_links,
    :max_dialled,
    :max_relayed,
    :peers,
    :transport,
    :pem,
    :topology
  ]
  @times [idle_ms: 60_000, stall_ms: 3_000, forget_ms: 60_000, backoff_ms: 500, max_links: 4096]

  @doc "The options of a fabric as the native library takes them, with `:channels`; raises ArgumentError."
  @spec new(true | keyword) :: map
  def new(true), do: new([])

  def new(options) do
    unless Keyword.keyword?(options), do: bad(:fabric, options, "true or a keyword list")

    for {key, _} <- options, key not in @known do
      raise ArgumentError,
            "fabric has no option #{inspect(key)}; it has #{Enum.map_join(@known, ", ", &inspect/1)}"
    end

    times =
      for {key, default} <- @times, into: %{}, do: {key, positive(key, Keyword.get(options, key, default))}

    Map.merge(times, %{
      max_dialled: count(:max_dialled, Keyword.get(options, :max_dialled)),
      max_relayed: count(:max_relayed, Keyword.get(options, :max_relayed)),
      cluster: cluster(Keyword.get(options, :cluster, "foundation")),
      name: name(Keyword.get(options, :name, node())),
      secret: secret(Keyword.get_lazy(options, :secret, &Node.get_cookie/0)),
      accept: secrets(Keyword.get(options, :accept, [])),
      transport: transport(Keyword.get(options, :transport, :tls)),
      pem: pem(Keyword.get(options, :pem)),
      bind: address(Keyword.get(options, :bind, {0, 0, 0, 0}), port(Keyword.get(options, :port, 0))),
      advertise: advertise(Keyword.get(options, :advertise)),
      boot: System.os_time(:microsecond),
      channels: Settings.all(Keyword.get(options, :channels, [])),
      peers: Enum.map(Keyword.get(options, :peers, []), &peer/1)
    })
  end

  @doc "An address and a port as text; IPv6 in brackets."
  @spec address(:inet.ip_address(), :inet.port_number()) :: String.t()
  def address(ip, port) do
    case :inet.parse_address(to_charlist(text(ip))) do
      {:ok, {_, _, _, _} = ip} -> "#{:inet.ntoa(ip)}:#{port}"
      {:ok, ip} -> "[#{:inet.ntoa(ip)}]:#{port}"
      {:error, _} -> bad(:bind, ip, "an IP address, as a tuple or as text")
    end
  end

  defp text(ip) when is_tuple(ip), do: to_string(:inet.ntoa(ip))
  defp text(ip) when is_binary(ip), do: ip
  defp text(ip), do: bad(:bind, ip, "an IP address, as a tuple or as text")

  defp count(_key, nil), do: nil
  defp count(_key, value) when is_integer(value) and value in 0..0x7FFFFFFF, do: value
  defp count(key, value), do: bad(key, value, "an integer from 0 to 2147483647")

  defp positive(_key, value) when is_integer(value) and value in 1..0xFFFFFFFF, do: value
  defp positive(key, value), do: bad(key, value, "a positive integer below 2^32")

  defp cluster(name) when is_atom(name) and name not in [nil, true, false], do: Atom.to_string(name)
  defp cluster(name) when is_binary(name) and name != "" and byte_size(name) <= 200, do: name
  defp cluster(name), do: bad(:cluster, name, "a name of 1 to 200 bytes")

  defp name(:nonode@nohost),
    do: bad(:name, :nonode@nohost, "a name of this node's own, since it has no node name")

  defp name(name) when is_atom(name) and name not in [nil, true, false], do: Atom.to_string(name)
  defp name(name), do: bad(:name, name, "an atom")

  @doc "A secret as a binary; raises ArgumentError."
  @spec secret(atom | binary) :: binary
  def secret(:nocookie),
    do:
      raise(ArgumentError, "fabric: a node without a cookie needs the option :secret, which it was not given")

  def secret(cookie) when is_atom(cookie) and cookie != nil, do: Atom.to_string(cookie)
  def secret(secret) when is_binary(secret) and secret != "", do: secret

  # The value is not shown.
  def secret(_other), do: raise(ArgumentError, "fabric: :secret is a binary that is not empty")

  @doc "The secrets that are accepted besides; raises ArgumentError."
  @spec secrets(term) :: [binary]
  def secrets(secrets) when is_list(secrets) and length(secrets) <= 8, do: Enum.map(secrets, &secret/1)
  def secrets(_other), do: raise(ArgumentError, "fabric: :accept is a list of at most eight secrets")

  defp transport(transport) when transport in [:tls, :quic], do: transport
  defp transport(other), do: bad(:transport, other, ":tls or :quic")

  defp pem(nil), do: nil

  defp pem(files) do
    if Keyword.keyword?(files) and Enum.sort(Keyword.keys(files)) == [:chain, :key, :roots] and
         Enum.all?(Keyword.values(files), &is_binary/1),
       do: {files[:chain], files[:key], files[:roots]},
       else: bad(:pem, files, "[chain: path, key: path, roots: path]")
  end

  defp port(port) when is_integer(port) and port in 0..65_535, do: port
  defp port(port), do: bad(:port, port, "an integer from 0 to 65535")

  defp advertise(nil), do: nil
  defp advertise({ip, port}), do: address(ip, port(port))
  defp advertise(other), do: bad(:advertise, other, "{ip, port}")

  defp peer({name, ip, port}) when is_atom(name), do: {name, address(ip, port(port))}
  defp peer(other), do: bad(:peers, other, "a list of {node, ip, port}")

  defp bad(key, value, expected),
    do: raise(ArgumentError, "fabric: #{key} is #{expected}, got: #{inspect(value)}")
end
