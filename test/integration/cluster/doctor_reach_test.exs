defmodule Foundation.Cluster.DoctorReachTest do
  # What a node cannot reach: faults staged on real nodes, sockets, name servers and APIs.
  use ExUnit.Case, async: false
  import Foundation.Eventually
  import Foundation.DoctorProbe

  alias Foundation.{ApiServer, ConsulApi, DnsServer, HttpServer, KubernetesApi, MdnsNodes}
  alias Foundation.ClusterNodes, as: Nodes

  setup do
    group = Nodes.group()
    on_exit(fn -> Nodes.stop_group(group) end)
    %{group: group}
  end

  describe "another node" do
    test "11. has another cookie", %{group: group} do
      [a, _] = [boot(group, :a), boot(group, :b, cookie: "another_cookie_than_that")]
      assert errors(a, nodes: [local(:b)]) == [peer: :wrong_cookie]
    end

    test "12. does not run", %{group: group} do
      assert errors(boot(group, :a), nodes: [local(:b)]) == [peer: :not_running]
    end

    test "13. has a long name, or a short one", %{group: group} do
      short = boot(group, nil, args: ~w(-sname a@localhost))
      assert errors(short, nodes: [:"b@host.domain"]) == [peer: :long_name]
      assert errors(boot(group, :b), nodes: [:b@host]) == [peer: :short_name]
    end

    test "14. is on a host that does not resolve", %{group: group} do
      assert errors(boot(group, :a), nodes: [:"b@no.such.host.invalid"]) == [peer: :unknown_host]
    end

    test "15. is on a host without epmd", %{group: group} do
      # The group's epmd answers on one address of this host only.
      peer = boot(group, :a, os_env: [{"ERL_EPMD_ADDRESS", "127.0.0.1"}])
      assert errors(peer, nodes: [:"b@127.0.0.2"]) == [peer: :epmd_refused]
    end

    test "16. is registered at a port that refuses, as a rejecting firewall does", %{group: group} do
      peer = boot(group, :a)
      socket = register(group, "b", Nodes.free_port())
      assert errors(peer, nodes: [local(:b)]) == [peer: :port_closed]
      :gen_tcp.close(socket)
    end

    test "17. is frozen", %{group: group} do
      [a, b] = [boot(group, :a), boot(group, :b)]
      os_pid = Nodes.pid_of_system(b)
      {_, 0} = System.cmd("kill", ["-STOP", os_pid])
      causes = errors(a, nodes: [local(:b)])
      {_, 0} = System.cmd("kill", ["-CONT", os_pid])
      assert causes == [peer: :silent]
    end

    test "18. is no Erlang node", %{group: group} do
      peer = boot(group, :a)
      server = ApiServer.start(fn _ -> :garbage end)
      socket = register(group, "b", server.port)
      assert [{:peer, cause}] = errors(peer, nodes: [local(:b)])
      assert cause in [:not_erlang, :silent]
      :gen_tcp.close(socket)
    end

    test "19. answers under another name", %{group: group} do
      [a, b] = [boot(group, :a), boot(group, :b)]

      {:ok, [{_, port}]} =
        Nodes.call(a, :net_adm, :names, [])
        |> then(fn {:ok, names} -> {:ok, for({~c"b", p} <- names, do: {:b, p})} end)

      socket = register(group, "c", port)
      assert errors(a, nodes: [local(:c)]) == [peer: :other_name]
      :gen_tcp.close(socket)
      assert Nodes.name(b) == local(:b)
    end

    test "20. lets only some nodes in", %{group: group} do
      [a, b] = [boot(group, :a), boot(group, :b)]
      :ok = Nodes.call(b, :net_kernel, :allow, [[:"only@this.one"]])
      assert [{:peer, cause}] = errors(a, nodes: [local(:b)])
      assert cause == :refused
    end
  end

  describe "a strategy" do
    defp cause(peer, cluster) do
      [finding] =
        for %{check: :strategy, status: status} = f <- findings(peer, cluster: cluster), status != :ok, do: f

      finding.cause
    end

    test "26. asks DNS for what does not exist, or a server that refuses, fails, or is silent", %{
      group: group
    } do
      server =
        DnsServer.start(%{
          "f.x" => :servfail,
          "r.x" => :refused,
          "s.x" => :silent,
          {"e.x", :a} => [],
          {"o.x", :a} => [{10, 9, 9, 9}]
        })

      peer = boot(group, :a)
      options = [nameservers: server.nameservers, retries: 1, search: []]
      dns = fn query, timeout -> cause(peer, {:dns, [query: query, timeout: timeout] ++ options}) end
      assert dns.("n.x", 15_000) == :nxdomain
      assert dns.("f.x", 15_000) == :servfail
      assert dns.("r.x", 15_000) == :dns_refused
      assert dns.("s.x", 200) == :dns_timeout
      assert dns.("e.x", 15_000) == :nobody
      assert cause(peer, :dns) == :missing_option
    end

    test "27. lists others under this node's name, and not this node", %{group: group} do
      server = DnsServer.start(%{{"o.x", :a} => [{127, 0, 0, 9}]})
      peer = boot(group, :a)
      assert cause(peer, {:dns, query: "o.x", nameservers: server.nameservers, search: []}) == :not_listed
    end

    test "28. asks a Kubernetes API that it may not, or cannot", %{group: group} do
      {certificate, cacerts} = HttpServer.certificates()
      {_, foreign} = HttpServer.certificates()
      server = ApiServer.start(KubernetesApi.api(pods: [], forbidden: true), ssl: certificate)
      peer = boot(group, :a)
      account = ApiServer.service_account(cacerts)

      kubernetes = fn more ->
        defaults = [
          kubernetes_master: server.url,
          kubernetes_selector: "app=it",
          kubernetes_service_account_path: account,
          timeout: 15_000
        ]

        cause(peer, {:kubernetes, Keyword.merge(defaults, more)})
      end

      assert kubernetes.([]) == :forbidden
      assert kubernetes.(kubernetes_service_account_path: ApiServer.service_account(foreign)) == :wrong_ca

      assert kubernetes.(
               kubernetes_service_account_path: "/nowhere",
               cacertfile: Path.join(account, "ca.crt")
             ) == :no_service_account

      assert kubernetes.(kubernetes_selector: nil) == :missing_option
      ApiServer.answer_with(server, KubernetesApi.api(pods: [], token: "another"))
      assert kubernetes.([]) == :unauthorized
      ApiServer.answer_with(server, KubernetesApi.api(pods: []))
      assert kubernetes.([]) == :nobody
      ApiServer.answer_with(server, fn _ -> :slow end)
      assert kubernetes.(timeout: 300) == :api_timeout
      ApiServer.answer_with(server, fn _ -> {200, "<html>log in</html>"} end)
      assert kubernetes.([]) == :api_answer
      ApiServer.stop(server)
      assert kubernetes.([]) == :api_unreachable
    end

    test "29. has a Consul token that may not read", %{group: group} do
      server = ApiServer.start(ConsulApi.api(instances: [], token: "right"))
      peer = boot(group, :a)

      assert cause(peer, {:consul, base_url: server.url, service_name: "x", access_token: "wrong"}) ==
               :forbidden

      ApiServer.answer_with(server, ConsulApi.api(instances: [], no_leader: true))
      assert cause(peer, {:consul, base_url: server.url, service_name: "x"}) == :api_status
    end

    test "30. hears a node with another cookie on the network", %{group: group} do
      port = MdnsNodes.port()
      [a, b] = [boot(group, :a), boot(group, :b, cookie: "another_cookie_than_that")]
      {:ok, _} = Nodes.call(b, MdnsNodes, :start, [[port: port]])
      causes = for %{check: :strategy, status: :error} = f <- findings(a, cluster: {:mdns, port: port}), do: f
      assert [%{cause: :stranger, says: says}] = causes
      assert says =~ "b@127.0.0.1"
    end

    test "is asked by its report while the cluster runs", %{group: group} do
      server = DnsServer.start(%{"f.x" => :servfail})
      dns = {:dns, query: "f.x", nameservers: server.nameservers, retries: 1, search: []}
      peer = boot(group, :a, start: true, env: [cluster: dns])
      assert_eventually(Nodes.call(peer, Foundation.Cluster, :info, []).strategies.dns.error != nil)
      assert {:strategy, :servfail} in errors(peer)
      assert {:problems, _} = Nodes.call(peer, Foundation.Cluster, :doctor, [])
    end
  end
end
