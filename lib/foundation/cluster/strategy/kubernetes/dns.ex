defmodule Foundation.Cluster.Strategy.Kubernetes.DNS do
  @moduledoc """
  Connects to the pods behind a Kubernetes headless service, by their addresses in DNS. Needs no service account.

      config :foundation, cluster: {:kubernetes_dns, service: "my-app-headless", application_name: "my_app"}

  Every node is called `application_name@address`. The service is one with `clusterIP: None`; with
  `publishNotReadyAddresses: true` pods find each other before they are ready.

  Options: `service` (needed; `name`, `name.namespace` or the whole name), `application_name` (that of this node unless
  given), `polling_interval` (5,000 ms), and `nameservers`, `timeout`, `retries`, `search` and `record` as
  `Foundation.Cluster.Strategy.DNSPoll` has them. `resolver` is, as in libcluster, a function of the service's name as a
  charlist that answers as `:inet_res.getbyname/2` does. Errors keep the nodes, as there.
  """

  use Foundation.Cluster.Strategy.Poll

  alias Foundation.Cluster.Strategy.{DNSPoll, Names, Options}

  @impl true
  def discover(%{config: config} = state) do
    with {:ok, service} <- Options.text(config, :service),
         {:ok, base} <- Options.basename(config, :application_name) do
      case config[:resolver] do
        nil -> poll(state, config, service, base)
        resolver -> service |> String.to_charlist() |> resolver.() |> answer(base, service)
      end
    end
  end

  defp poll(state, config, service, base) do
    asked = %{state | config: Keyword.merge(config, query: service, node_basename: base)}

    with answer when tuple_size(answer) == 3 <- DNSPoll.discover(asked),
         do: put_elem(answer, 2, %{elem(answer, 2) | config: config})
  end

  @doc false
  # What :inet_res.getbyname/2 answers, as nodes.
  @spec answer(term, String.t(), String.t()) :: {:ok, [node]} | {:error, term}
  def answer({:ok, {:hostent, _name, _aliases, kind, _length, found}}, base, _service),
    do: Names.nodes(base, if(kind == :srv, do: Enum.map(found, &elem(&1, 3)), else: found))

  def answer({:error, reason}, _base, service), do: {:error, {:dns, service, reason}}
end
