defmodule Foundation.Cluster.Strategy.ErlangHosts do
  @moduledoc """
  Connects to every node on the hosts that the file `.hosts.erlang` names.

      config :foundation, cluster: {:erlang_hosts, name_match: ~r/^shop/}

  The file is read anew each round, as `:net_adm.host_file/0` finds it: in the working directory, the user's home or the
  root of Erlang. Options, as in libcluster: `timeout` (or `polling_interval`, 5,000): the ms between two rounds;
  `name_match`: which node names, without host, are wanted: an atom or a list of atoms that equal it, a charlist that
  equals it, a string that is part of it, a regular expression, a function of it, `{module, function}` or `{module,
  function, arguments}` which get it in front.

  A host that does not answer keeps the nodes it had. When no host answers, that is an error, and so is a missing file.
  """

  use Foundation.Cluster.Strategy.Poll, leaves: false

  alias Foundation.Cluster.Strategy
  alias Foundation.Cluster.Strategy.{Epmd, Poll}

  @impl Strategy
  def start_link([%{config: config} = state]) do
    interval = if is_integer(config[:timeout]), do: config[:timeout], else: 5_000
    Poll.start_link(__MODULE__, state, leaves: false, interval: interval)
  end

  @impl Poll
  def discover(%{config: config} = state) do
    case :net_adm.host_file() do
      {:error, reason} -> {:error, {:hosts_file, reason}}
      hosts -> hosts |> ask(state.meta || %{}) |> answer(state, matcher(config[:name_match]))
    end
  end

  defp ask(hosts, known) do
    answers = for host <- hosts, do: {host, Epmd.names(String.to_charlist(to_string(host)))}
    fresh = for {host, {:ok, nodes}} <- answers, into: %{}, do: {host, nodes}
    failed = for {host, {:error, reason}} <- answers, do: {to_string(host), reason}
    {Map.merge(Map.take(known, hosts), fresh), failed, map_size(fresh)}
  end

  defp answer({known, failed, 0}, state, _match?) when failed != [],
    do: {:error, {:epmd, failed}, %{state | meta: known}}

  defp answer({known, _failed, _answered}, state, match?) do
    nodes = for {_host, nodes} <- known, node <- nodes, match?.(short(node)), do: node
    {:ok, nodes, %{state | meta: known}}
  end

  defp short(node), do: node |> Atom.to_string() |> String.split("@") |> hd()

  defp matcher(nil), do: fn _name -> true end
  defp matcher(atom) when is_atom(atom), do: &(&1 == Atom.to_string(atom))

  defp matcher([first | _] = atoms) when is_atom(first),
    do: &(&1 in Enum.map(atoms, fn a -> to_string(a) end))

  defp matcher([_ | _] = charlist), do: &(&1 == List.to_string(charlist))
  defp matcher(text) when is_binary(text), do: &String.contains?(&1, text)
  defp matcher(%Regex{} = regex), do: &Regex.match?(regex, &1)
  defp matcher(fun) when is_function(fun, 1), do: fun
  defp matcher({module, function}), do: &apply(module, function, [&1])
  defp matcher({module, function, arguments}), do: &apply(module, function, [&1 | arguments])
end
