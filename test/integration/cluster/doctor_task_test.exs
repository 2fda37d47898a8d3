defmodule Foundation.Cluster.DoctorTaskTest do
  # The task as it is run from a shell.
  use ExUnit.Case, async: false

  alias Foundation.ClusterNodes, as: Nodes

  setup do
    group = Nodes.group()
    on_exit(fn -> Nodes.stop_group(group) end)
    %{group: group}
  end

  defp doctor(group, args) do
    env = [{"ERL_EPMD_PORT", "#{group.epmd}"}, {"MIX_ENV", "test"}, {"FOUNDATION_NO_HEX", "1"}]
    System.cmd("mix", ["foundation.doctor" | args], env: env, stderr_to_stdout: true)
  end

  test "says what is wrong from where it runs, and ends with status 1", %{group: group} do
    {text, status} = doctor(group, ["--verbose"])
    assert {status, text =~ "distribution: this node has no name"} == {1, true}
    assert text =~ "ok       interfaces:"
  end

  test "asks a running node, or says why it cannot", %{group: group} do
    peer = Nodes.boot(group, name: :a, env: [cluster: {:static, nodes: [:"b@127.0.0.1"]}])
    on_exit(fn -> Nodes.stop(peer) end)
    named = ["--name", "me#{Nodes.unique()}@127.0.0.1", "--on", "a@127.0.0.1"]

    {text, 1} = doctor(group, ["--cookie", group.cookie | named])
    assert text =~ "epmd of 127.0.0.1 (127.0.0.1) knows no node called b"

    {text, 1} = doctor(group, ["--cookie", "some_other_cookie" | named])
    assert text =~ "a@127.0.0.1 cannot be connected from here"
    assert text =~ "a@127.0.0.1 has another cookie than this node"
  end

  test "looks at one of several clusters, and says which there are", %{group: group} do
    entry = [secret: "a secret for the doctor", fabric: [bind: {127, 0, 0, 1}]]
    peer = Nodes.boot(group, name: :a, env: [cluster: {:static, nodes: []}, clusters: %{ai: entry}])
    on_exit(fn -> Nodes.stop(peer) end)

    {text, 1} = doctor(group, ["--cluster", "nope"])
    assert text =~ "this configuration knows no cluster nope"

    named = ["--cookie", group.cookie, "--name", "me#{Nodes.unique()}@127.0.0.1", "--on", "a@127.0.0.1"]
    {text, 1} = doctor(group, named ++ ["--cluster", "nope"])
    assert text =~ "a@127.0.0.1 knows no cluster nope; it knows ai"

    {text, 1} = doctor(group, named ++ ["--cluster", "ai", "--verbose"])
    assert text =~ "members: this node is alone in ai"
    assert text =~ "this node's fabric in ai accepts links at 127.0.0.1:"
  end
end
