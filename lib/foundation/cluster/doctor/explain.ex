defmodule Foundation.Cluster.Doctor.Explain do
  @moduledoc false
  # What a strategy's error means, and what to do about it: `{cause, says, change}`.

  @type t :: {atom, String.t(), String.t()}

  @ecs_role "give the task definition a taskRoleArn whose policy allows ecs:ListTasks and ecs:DescribeTasks; or register " <>
              "the service in Cloud Map and set FOUNDATION_DNS_QUERY to SERVICE.NAMESPACE"

  @spec error(term) :: t
  def error({:dns, name, reason}), do: dns(name, reason)
  def error({:kubernetes, status, message}), do: kubernetes(status, said(message))
  def error({:consul, status, message}), do: consul(status, said(message))

  def error({:rancher, status}),
    do:
      {:api_status, "Rancher's metadata service answers with status #{status}",
       "see that this container runs under Rancher, and correct base_url"}

  def error({:ecs, :no_task}),
    do:
      {:not_a_task,
       "ECS_CONTAINER_METADATA_URI_V4 is not set: this node does not run as a task of Amazon ECS",
       "use the :ecs strategy in tasks only; they need Fargate platform 1.4.0, or the ECS agent 1.39.0, or later"}

  def error({:ecs, :metadata, what}),
    do:
      {:api_status, "the task metadata endpoint does not say which service this task belongs to (#{what})",
       "set cluster, region and service (or family) in the :ecs strategy's configuration"}

  def error({:ecs, :no_role}) do
    {:no_role,
     "this task has no role, so it may not ask ECS for the other tasks of its service; and under which name DNS knows " <>
       "them, if it does, a task is not told", @ecs_role}
  end

  def error({:ecs, :credentials, what}),
    do: {:no_role, "the credentials of the task's role cannot be had (#{what})", @ecs_role}

  def error({:ecs, :no_addresses}),
    do:
      {:no_addresses, "tasks of the service run, and none has an address of its own",
       "use network mode awsvpc in the task definition"}

  def error({:ecs, status, message}), do: ecs(status, message)

  def error({:service_account, file, reason}) do
    {:no_service_account, "the service account's file #{file} cannot be read (#{inspect(reason)})",
     "run in a pod with automountServiceAccountToken, or set kubernetes_service_account_path, or kubernetes_namespace"}
  end

  def error({:invalid_option, {key, nil}}),
    do: {:missing_option, "the option #{key} is missing", "set #{key} in the strategy's configuration"}

  def error({:invalid_option, {key, value}}),
    do:
      {:invalid_option, "the option #{key} is #{inspect(value)}, which has no meaning here",
       "correct #{key} in the strategy's configuration"}

  def error({:tls, :unknown_ca}) do
    {:wrong_ca, "the API's certificate is not signed by an authority that is trusted here",
     "point cacertfile (in Kubernetes the service account's ca.crt) at the authority that signed it"}
  end

  def error({:tls, reason}) do
    {:tls, "the TLS connection to the API fails: #{inspect(reason)}",
     "see that the certificate is valid now, and made for the host name that the URL has"}
  end

  def error({:connect, :nxdomain}),
    do:
      {:api_unknown, "the API's host name does not resolve",
       "correct the URL, or the DNS server of this host"}

  def error({:connect, reason}) do
    {:api_unreachable, "the API cannot be reached (#{inspect(reason)})",
     "see that it runs, that the URL and its port are right, and that no firewall or network policy is in between"}
  end

  def error(:timeout),
    do:
      {:api_timeout, "the API does not answer in time",
       "see that it is not overloaded and that nothing drops the packets in between; or raise timeout"}

  def error(:closed),
    do: {:api_cut, "the API's answer ends too early", "look at the API, and at the proxies in between"}

  def error(:body_too_large),
    do: {:api_too_large, "the API's answer is larger than 16 MiB", "narrow the selector"}

  def error(reason) when reason in [:not_json, :no_list],
    do:
      {:api_answer, "what answers is not the API: #{reason}",
       "correct the URL; a proxy or login page may be answering"}

  def error({:too_many_nodes, count}),
    do:
      {:too_many, "#{count} nodes were listed, more than can be meant",
       "narrow the selector, query or service"}

  def error(:no_multicast),
    do: {:no_multicast, "this node does not hear its own announcement", "see the finding on multicast"}

  def error(:not_alive), do: {:not_alive, "this node has no name yet", "see the finding on the distribution"}

  def error(reason) do
    {:strategy_error, "the strategy reports #{inspect(reason, limit: 20, printable_limit: 300)}",
     "see its documentation, and the log"}
  end

  defp dns(name, :nxdomain) do
    {:nxdomain, "the name #{name} does not exist in DNS",
     "correct the name; in Kubernetes, see that the headless service exists (clusterIP: None) and has this name and namespace"}
  end

  defp dns(name, :servfail),
    do:
      {:servfail, "the name server fails when asked for #{name}",
       "look at the name server; it, or one behind it, is out of order"}

  defp dns(name, :refused),
    do:
      {:dns_refused, "the name server refuses to answer for #{name}",
       "use one that serves this host (/etc/resolv.conf, or nameservers), or let this host ask it"}

  defp dns(name, :timeout),
    do:
      {:dns_timeout, "no name server answers when asked for #{name}",
       "see that the servers of /etc/resolv.conf, or nameservers, are right and that UDP and TCP port 53 pass"}

  defp dns(name, reason),
    do:
      {:dns, "asking DNS for #{name} fails: #{inspect(reason)}",
       "look at the name server's answer: dig #{name}"}

  defp kubernetes(401, said) do
    {:unauthorized, "Kubernetes' API does not accept the service account's token#{said}",
     "see that the token is the pod's own and not expired, and that serviceAccountName is right"}
  end

  defp kubernetes(403, said) do
    {:forbidden, "the service account may not list what is asked for#{said}",
     "give it a Role that allows `list` on endpoints (or pods) of the namespace, or use the :kubernetes_dns strategy"}
  end

  defp kubernetes(404, said),
    do:
      {:api_status, "Kubernetes' API does not know what is asked for#{said}",
       "correct kubernetes_master, and the namespace"}

  defp kubernetes(status, said),
    do:
      {:api_status, "Kubernetes' API answers with status #{status}#{said}",
       "look at the API server; the nodes known so far are kept"}

  defp consul(403, said) do
    {:forbidden, "Consul does not let this token read the service#{said}",
     "set access_token to one whose policy has service_prefix read and node_prefix read"}
  end

  defp consul(status, said),
    do:
      {:api_status, "Consul answers with status #{status}#{said}",
       "look at the Consul agent and its servers; the nodes known so far are kept"}

  defp ecs(_status, "AccessDenied" <> _ = message),
    do: {:forbidden, "the task's role may not ask ECS for tasks: #{message}", @ecs_role}

  defp ecs(status, message),
    do:
      {:api_status, "Amazon ECS answers with status #{status}#{said(message)}",
       "look at the names and the role; the nodes known so far are kept"}

  defp said(""), do: ""
  defp said(message), do: ": #{message}"
end
