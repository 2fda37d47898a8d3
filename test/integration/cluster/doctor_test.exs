defmodule Foundation.Cluster.DoctorTest do
  # Each fault is staged on real nodes, and the doctor has to name it, and it alone.
  use ExUnit.Case, async: false
  import Foundation.DoctorProbe

  alias Foundation.Cluster.Doctor
  alias Foundation.Cluster.Doctor.Members
  alias Foundation.ClusterNodes, as: Nodes

  setup do
    group = Nodes.group()
    on_exit(fn -> Nodes.stop_group(group) end)
    %{group: group}
  end

  describe "nodes in order" do
    test "have no errors, connected or to be connected", %{group: group} do
      [a, b] = [boot(group, :a), boot(group, :b)]
      findings = findings(a, nodes: [local(:b)])
      assert [%{cause: :late}] = for(%{check: :peer} = f <- findings, do: f)
      assert Nodes.call(a, Node, :list, []) == [local(:b)]

      findings = findings(a, nodes: [local(:b)])
      assert for(%{status: :error} = f <- findings, do: f) == []
      checks = for %{status: :ok, check: check} <- findings, do: check

      assert [:distribution, :host, :cookie, :epmd, :registered, :listen, :peer, :otp, :clock, :views] --
               checks == []

      assert Nodes.call(b, Node, :list, [:hidden]) == []
    end

    test "are not connected by a doctor that only looks", %{group: group} do
      [a, _b] = [boot(group, :a), boot(group, :b)]
      findings = findings(a, nodes: [local(:b)], connect: false)
      assert [%{status: :ok}] = for(%{check: :peer} = f <- findings, do: f)
      assert Nodes.call(a, Node, :list, []) == []
    end
  end

  describe "this node" do
    test "1. has no name", %{group: group} do
      assert errors(boot(group, nil)) == [distribution: :not_alive, epmd: :no_epmd]
    end

    test "2. cannot get one, since others can read its cookie's file", %{group: group} do
      File.chmod!(Path.join(group.directory, ".erlang.cookie"), 0o644)
      assert {:cookie, :cookie_file_open} in errors(boot(group, nil))
    end

    test "3. is named after a host that does not resolve", %{group: group} do
      peer = boot(group, nil, args: ~w(-sname a@no-such-host-here))
      assert errors(peer) == [host: :host_unknown]
    end

    test "4. is named after a host that is another one", %{group: group} do
      peer = boot(group, nil, args: ~w(-name a@192.0.2.77))
      assert errors(peer) == [host: :host_elsewhere]
    end

    test "5. uses a name that is good on one host only, a guessable cookie, and few files", %{group: group} do
      limited = {~c"/bin/sh", [~c"-c", ~c"ulimit -n 512; exec erl \"$@\"", ~c"erl"]}
      peer = boot(group, :a, cookie: "secret", exec: limited)
      assert warnings(peer) == [cookie: :weak_cookie, files: :few_files]
      assert :loopback_name in for(f <- findings(peer), do: f.cause)
    end

    test "6. has lost its epmd", %{group: group} do
      epmd(group)
      peer = boot(group, :a)
      {_, 0} = System.cmd(Nodes.epmd_path(), ["-port", "#{group.epmd}", "-kill"])
      assert {:epmd, :no_epmd} in errors(peer)
    end

    test "7. is not known to the epmd that runs now", %{group: group} do
      epmd(group)
      peer = boot(group, :a)
      # It would register again.
      Nodes.call(peer, :sys, :suspend, [:erl_epmd])
      {_, 0} = System.cmd(Nodes.epmd_path(), ["-port", "#{group.epmd}", "-kill"])
      epmd(group)
      assert errors(peer) == [registered: :not_registered]
    end

    test "8. listens on the loopback interface only", %{group: group} do
      {:ok, interfaces} = :inet.getifaddrs()

      [address | _] =
        for {_, o} <- interfaces,
            {:addr, {_, _, _, _} = a} <- o,
            :loopback not in o[:flags],
            do: :inet.ntoa(a)

      args = ["-name", "a@#{address}", "-kernel", "inet_dist_use_interface", "{127,0,0,1}"]
      assert {:listen, :loopback_only} in errors(boot(group, nil, args: args))
    end

    test "9. is draining", %{group: group} do
      peer = boot(group, :a, start: true, env: [cluster: {:static, nodes: []}])
      :ok = Nodes.call(peer, Foundation.Cluster, :drain, [[]])
      assert {:drain, :draining} in warnings(peer)
    end

    test "10. has a configuration that is none", %{group: group} do
      peer = boot(group, :a, env: [cluster: :no_such_strategy])
      assert errors(peer) == [config: :invalid_config]
      assert [%{says: says}] = for(%{check: :config} = f <- findings(peer), do: f)
      assert says =~ ":no_such_strategy"
    end
  end

  describe "among connected nodes" do
    defp connected(group, names, opts) do
      [first | others] = Enum.map(names, &boot(group, &1, Keyword.get(opts, &1, [])))
      for name <- tl(names), do: assert(Nodes.call(first, Node, :connect, [local(name)]) == true)
      [first | others]
    end

    test "21. one is hidden", %{group: group} do
      [a, _] = connected(group, [:a, :b], b: [args: ~w(-hidden)])
      assert warnings(a) == [hidden: :hidden_nodes]
    end

    test "22. tick times differ", %{group: group} do
      [a, _] = connected(group, [:a, :b], b: [args: ~w(-kernel net_ticktime 7)])
      assert errors(a) == [ticktime: :ticktime_skew]
    end

    test "23. versions differ", %{group: group} do
      [a, b] = [boot(group, :a), boot(group, :b)]
      Nodes.call(b, :application, :unload, [:foundation])
      :ok = Nodes.call(b, :application, :load, [{:application, :foundation, [vsn: ~c"1.0.0"]}])
      :ok = Nodes.call(a, :application, :load, [:foundation])
      true = Nodes.call(a, Node, :connect, [local(:b)])
      assert warnings(a) == [foundation: :version_skew]
    end

    test "24. not all see all", %{group: group} do
      apart = [args: ~w(-connect_all false)]
      [a, _, _] = connected(group, [:a, :b, :c], a: apart, b: apart, c: apart)
      assert errors(a) == [views: :partial]
    end

    test "25. clocks differ" do
      assert %{status: :ok} = Members.clocks([{:b@h, 0}, {:c@h, -999}])
      assert %{status: :warning, says: says} = Members.clocks([{:b@h, 1_500}, {:c@h, -61_000}])
      assert says =~ "b@h by +1.5 s, c@h by -61.0 s"
    end
  end

  test "everything is said in lines that people can read", %{group: group} do
    findings = findings(boot(group, nil))
    text = Doctor.format(findings, verbose: true)
    assert text =~ ~r/\AWRONG    distribution: this node has no name/
    assert text =~ "\n         → start it with"
    assert text =~ ~r/\d+ wrong, \d+ doubtful, \d+ in order\n\z/
    assert length(String.split(text, "\n")) > length(findings)
    assert_raise ArgumentError, ~r/nodes is "b@h"/, fn -> Doctor.run(nodes: "b@h") end
  end
end
