defmodule Foundation.Cluster.Strategy.Kubernetes.DNSSRV do
  @moduledoc """
  Connects to the pods of a stateful set behind a Kubernetes headless service, by their names in DNS. Needs no service
  account.

      config :foundation,
        cluster: {Foundation.Cluster.Strategy.Kubernetes.DNSSRV,
                  service: "my-app", namespace: "default", application_name: "my_app"}

  Every node is called `application_name@pod.service.namespace.svc.cluster.local`, as `hostname -f` says in the pod.

  Options: `service` and `namespace` (needed), `application_name` (that of this node unless given), `cluster_domain`
  (`"cluster.local"`), `polling_interval` (5,000 ms), and `nameservers`, `timeout` and `retries` as
  `Foundation.Cluster.Strategy.DNSPoll` has them. `resolver` is, as in libcluster, a function of the service's full name as a
  charlist that answers as `:inet_res.getbyname/2` does. Errors keep the nodes, as there.
  """

  use Foundation.Cluster.Strategy.Poll

  alias Foundation.Cluster.Strategy.{Kubernetes, Names, Options, Resolver}

  @impl true
  def discover(%{config: config}) do
    with {:ok, service} <- Options.text(config, :service),
         {:ok, namespace} <- Options.text(config, :namespace),
         {:ok, base} <- Options.basename(config, :application_name) do
      domain = Keyword.get(config, :cluster_domain, "cluster.local")
      name = "#{service}.#{namespace}.svc.#{domain}."

      case config[:resolver] do
        nil -> lookup(name, base, config)
        resolver -> name |> String.to_charlist() |> resolver.() |> Kubernetes.DNS.answer(base, name)
      end
    end
  end

  defp lookup(name, base, config) do
    case Resolver.lookup(name, :srv, config) do
      {:ok, found} -> Names.nodes(base, for({_, _, _, host} <- found, do: host))
      {:error, reason} -> {:error, {:dns, name, reason}}
    end
  end
end
