defmodule Foundation.Cluster.Strategy.Resolver do
  @moduledoc false
  # Asks name servers: the system's, or those given. Tells apart that a name does not exist, that it has no such records,
  # and that nobody could say. Answers that do not fit into a datagram are asked for again over TCP.

  @timeout_ms 3_000
  @retries 2
  @max_chain 8

  @type kind :: :a | :aaaa | :srv
  @type reason ::
          :nxdomain | :timeout | :servfail | :refused | :formerr | :notimp | :invalid_name | {:dns, term}

  @doc """
  The data of all records of that kind: addresses, or `{priority, weight, port, host}`. An empty list when the name exists and has
  none. Options: `nameservers` (`[{ip, port}]`), `timeout` (3,000 ms each try), `retries` (2), `search` (domains to try for a name
  that does not end in a dot).
  """
  @spec lookup(String.t(), kind, keyword) :: {:ok, [term]} | {:error, reason}
  def lookup(name, kind, opts \\ []) do
    if valid?(name),
      do: name |> candidates(opts) |> first_known(kind, opts),
      else: {:error, :invalid_name}
  end

  # A name of one label is tried below the search domains first, others as they are first.
  defp candidates(name, opts) do
    below = for domain <- Keyword.get_lazy(opts, :search, &search/0), do: "#{name}.#{domain}"

    cond do
      String.ends_with?(name, ".") -> [String.trim_trailing(name, ".")]
      String.contains?(name, ".") -> [name | below]
      true -> below ++ [name]
    end
  end

  defp search, do: for(domain <- :inet_db.res_option(:search), domain != [], do: List.to_string(domain))

  # That one candidate does not exist says nothing of the next.
  defp first_known([last], kind, opts), do: ask(last, kind, opts)

  defp first_known([name | more], kind, opts) do
    case ask(name, kind, opts) do
      {:error, :nxdomain} -> first_known(more, kind, opts)
      answer -> answer
    end
  end

  defp ask(name, kind, opts) do
    options =
      [timeout: Keyword.get(opts, :timeout, @timeout_ms), retry: Keyword.get(opts, :retries, @retries)] ++
        Keyword.take(opts, [:nameservers])

    case :inet_res.resolve(String.to_charlist(name), :in, kind, options) do
      {:ok, message} ->
        {:ok, message |> :inet_dns.msg(:anlist) |> data(String.to_charlist(name), kind, @max_chain)}

      {:error, {reason, _message}} ->
        {:error, reason(reason)}

      {:error, reason} ->
        {:error, reason(reason)}
    end
  end

  # The records of the name, or of the name that it is another name for.
  defp data(_records, _name, _kind, 0), do: []

  defp data(records, name, kind, hops) do
    own = for record <- records, same?(:inet_dns.rr(record, :domain), name), do: :inet_dns.rr(record)

    case for(record <- own, record[:type] == kind, do: record[:data]) do
      [] ->
        case Enum.find(own, &(&1[:type] == :cname)) do
          nil -> []
          alias_of -> data(records, alias_of[:data], kind, hops - 1)
        end

      found ->
        found
    end
  end

  defp same?(left, right), do: :string.lowercase(left) == :string.lowercase(right)

  defp reason(reason) when reason in [:nxdomain, :timeout, :servfail, :refused, :formerr, :notimp], do: reason
  defp reason(:econnrefused), do: :refused
  defp reason(reason), do: {:dns, reason}

  defp valid?(name), do: byte_size(name) in 1..253 and name =~ ~r/\A[A-Za-z0-9_.-]+\z/
end
