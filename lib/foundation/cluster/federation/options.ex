defmodule Foundation.Cluster.Federation.Options do
  @moduledoc false
  # Reads `config :foundation, clusters: …`. A problem names the key and what was expected, and never shows a secret.

  alias Foundation.Cluster.Config
  alias Foundation.Cluster.Federation.{Pem, Wire}
  alias Foundation.Native

  @keys [:secret, :gateway, :authority, :as, :gateways, :allow, :quota, :accept]
  # Of a cluster that this node joins with a fabric of its own; read by what does that.
  @joining [:strategy, :topology, :channels, :fabric, :seeds, :partitions]
  @least_secret 16

  @type functions :: %{Wire.function_name() => {module, atom}}
  @type allow :: %{(cluster :: String.t()) => functions}
  @type t :: %{clusters: [atom], native: [Native.federation_cluster()], allow: allow}

  @spec read(term) :: {:ok, t} | {:error, Config.problem()}
  def read(clusters) do
    clusters = if is_map(clusters), do: Map.to_list(clusters), else: clusters

    if Keyword.keyword?(clusters) and clusters != [] and Enum.all?(clusters, &Keyword.keyword?(elem(&1, 1))) do
      read_all(Enum.sort(clusters))
    else
      problem("clusters", :concealed, "a map from clusters to keyword lists")
    end
  end

  defp read_all(clusters) do
    members = for {name, options} <- clusters, Keyword.has_key?(options, :secret), do: name

    with {:ok, read} <- each(clusters, fn {name, options} -> cluster(name, options, members) end) do
      {:ok,
       %{
         clusters: Keyword.keys(clusters),
         native: Enum.map(read, &elem(&1, 0)),
         allow: Map.new(read, &elem(&1, 1))
       }}
    end
  end

  defp cluster(name, options, members) do
    key = &"clusters: #{name}: #{&1}"

    with :ok <- known(key, options),
         {:ok, membership} <- membership(key, options, members),
         {:ok, gateways} <- addresses(key, Keyword.get(options, :gateways, [])),
         {:ok, quota} <- quota(key, Keyword.get(options, :quota, [])),
         {:ok, allow} <- allow(key, Keyword.get(options, :allow, [])) do
      name = Atom.to_string(name)
      {:ok, {{name, membership, gateways, quota}, {name, allow}}}
    end
  end

  defp known(key, options) do
    joining = if Keyword.has_key?(options, :secret), do: @joining, else: []

    case Enum.uniq(Keyword.keys(options)) -- (@keys ++ joining) do
      [] -> :ok
      [unknown | _] -> problem(key.(unknown), :concealed, "one of #{inspect(@keys ++ joining)}")
    end
  end

  defp membership(key, options, members) do
    case {Keyword.fetch(options, :secret), Keyword.fetch(options, :authority)} do
      {{:ok, secret}, :error} ->
        with {:ok, secret} <- secret(key, secret),
             {:ok, accepted} <- accepted(key, Keyword.get(options, :accept, [])),
             {:ok, gateway} <- gateway(key, Keyword.get(options, :gateway)),
             do: {:ok, {:member, [secret | accepted], gateway}}

      {:error, {:ok, authority}} ->
        with :ok <- no_gateway(key, options),
             {:ok, authorities} <- authorities(key, authority),
             {:ok, name} <- as(key, Keyword.get(options, :as), members),
             do: {:ok, {:foreign, Atom.to_string(name), authorities}}

      _ ->
        problem(
          key.("secret"),
          :concealed,
          "either :secret, of a cluster that this node is in, or :authority"
        )
    end
  end

  @doc "The secret of an entry, and those that are accepted besides."
  @spec secrets(String.t(), keyword) :: {:ok, binary, [binary]} | {:error, Config.problem()}
  def secrets(name, options) do
    key = &"clusters: #{name}: #{&1}"

    with {:ok, secret} <- secret(key, options[:secret]),
         {:ok, accepted} <- accepted(key, Keyword.get(options, :accept, [])),
         do: {:ok, secret, accepted}
  end

  @doc "The functions that an entry allows, by what they are called on the wire."
  @spec functions(String.t(), keyword) :: {:ok, functions} | {:error, Config.problem()}
  def functions(name, options), do: allow(&"clusters: #{name}: #{&1}", Keyword.get(options, :allow, []))

  @doc "Addresses as text, names looked up."
  @spec addresses(String.t(), atom, [String.t()]) :: {:ok, [String.t()]} | {:error, Config.problem()}
  def addresses(name, option, addresses), do: addresses(fn _ -> "clusters: #{name}: #{option}" end, addresses)

  @doc "Whether an entry has the node join the cluster with a fabric of its own."
  @spec joins?(keyword) :: boolean
  def joins?(options), do: Enum.any?(@joining, &Keyword.has_key?(options, &1))

  defp accepted(key, secrets) when is_list(secrets) and length(secrets) <= 8,
    do: each(secrets, &secret(fn _ -> key.("accept") end, &1))

  defp accepted(key, _), do: problem(key.("accept"), :concealed, "a list of at most eight secrets")

  defp secret(key, :cookie) do
    if Node.alive?(),
      do: secret(key, Atom.to_string(Node.get_cookie())),
      else: problem(key.("secret"), :cookie, "a node with a cookie")
  end

  defp secret(key, {:system, variable}) when is_binary(variable) do
    case System.get_env(variable) do
      nil -> problem(key.("secret"), {:system, variable}, "an environment variable that is set")
      secret -> secret(key, secret)
    end
  end

  defp secret(_key, secret) when is_binary(secret) and byte_size(secret) >= @least_secret, do: {:ok, secret}
  defp secret(key, _), do: problem(key.("secret"), :concealed, "#{@least_secret} bytes or more")

  defp gateway(_key, off) when off in [nil, false], do: {:ok, nil}
  defp gateway(key, true), do: gateway(key, [])

  defp gateway(key, options) do
    with true <- Keyword.keyword?(options) and Keyword.keys(options) -- [:port, :bind] == [],
         port when port in 0..65_535 <- Keyword.get(options, :port, 0),
         {:ok, ip} <- ip(Keyword.get(options, :bind, "0.0.0.0")) do
      {:ok, text(ip, port)}
    else
      _ -> problem(key.("gateway"), options, "true or [port: 0..65535, bind: address]")
    end
  end

  defp no_gateway(key, options) do
    if Keyword.has_key?(options, :gateway),
      do: problem(key.("gateway"), options[:gateway], "no gateway for a cluster that this node is not in"),
      else: :ok
  end

  defp authorities(key, authority) when is_binary(authority) do
    with {:ok, text} <- pem_text(authority), {:ok, certificates} <- Pem.decode(text) do
      {:ok, certificates}
    else
      _ -> problem(key.("authority"), authority, "certificates as PEM text, or the path of a file with them")
    end
  end

  defp authorities(key, other), do: problem(key.("authority"), other, "PEM text or a path")

  defp pem_text("-----BEGIN" <> _ = text), do: {:ok, text}
  defp pem_text(path), do: File.read(path)

  defp as(_key, nil, [only]), do: {:ok, only}

  defp as(key, name, members) do
    if name in members,
      do: {:ok, name},
      else: problem(key.("as"), name, "one of the clusters with a :secret, #{inspect(members)}")
  end

  defp addresses(key, addresses) when is_list(addresses) and length(addresses) <= 64 do
    each(addresses, fn address ->
      case address(address) do
        {:ok, address} -> {:ok, address}
        :error -> problem(key.("gateways"), address, ~s("host:port", and a host that can be found))
      end
    end)
  end

  defp addresses(key, other), do: problem(key.("gateways"), other, "a list of at most 64 addresses")

  defp address(address) when is_binary(address) do
    with [_, host, port] <- Regex.run(~r/\A(.+):(\d{1,5})\z/, address),
         {port, ""} when port in 1..65_535 <- Integer.parse(port),
         {:ok, ip} <- host |> String.trim_leading("[") |> String.trim_trailing("]") |> ip() do
      {:ok, text(ip, port)}
    else
      _ -> :error
    end
  end

  defp address(_), do: :error

  defp ip(ip) when is_tuple(ip), do: if(:inet.ntoa(ip) == {:error, :einval}, do: :error, else: {:ok, ip})

  defp ip(host) when is_binary(host) do
    host = String.to_charlist(host)

    with {:error, _} <- :inet.parse_address(host),
         {:error, _} <- :inet.getaddr(host, :inet),
         {:error, _} <- :inet.getaddr(host, :inet6),
         do: :error
  end

  defp ip(_), do: :error

  defp text(ip, port) when tuple_size(ip) == 4, do: "#{:inet.ntoa(ip)}:#{port}"
  defp text(ip, port), do: "[#{:inet.ntoa(ip)}]:#{port}"

  defp quota(key, options) do
    defaults = [calls_per_second: 1_000, bytes_per_second: 16 * 1_048_576, at_a_time: 64]

    with true <- Keyword.keyword?(options) and Keyword.keys(options) -- Keyword.keys(defaults) == [],
         values = for({name, default} <- defaults, do: Keyword.get(options, name, default)),
         true <- Enum.all?(values, &(is_integer(&1) and &1 > 0 and &1 < 4_294_967_296)) do
      {:ok, List.to_tuple(values)}
    else
      _ ->
        problem(
          key.("quota"),
          options,
          "whole numbers above 0 for some of #{inspect(Keyword.keys(defaults))}"
        )
    end
  end

  defp allow(key, allowed) do
    with true <- is_list(allowed) and not List.improper?(allowed),
         {:ok, functions} <- each(allowed, &function/1) do
      {:ok, Map.new(functions)}
    else
      _ -> problem(key.("allow"), allowed, "a list of {module, function, arity}")
    end
  end

  defp function({module, function, arity}) when is_atom(module) and is_atom(function) and arity in 0..255,
    do: {:ok, {{Atom.to_string(module), Atom.to_string(function), arity}, {module, function}}}

  defp function(_), do: :error

  # Reads each element; the first problem ends it.
  defp each(list, read) do
    list
    |> Enum.reduce_while([], fn item, done ->
      case read.(item) do
        {:ok, value} -> {:cont, [value | done]}
        problem -> {:halt, {:problem, problem}}
      end
    end)
    |> case do
      {:problem, problem} -> problem
      done -> {:ok, Enum.reverse(done)}
    end
  end

  defp problem(key, value, expected), do: Config.problem(key, value, expected)
end
