defmodule Mix.Tasks.Foundation.Doctor do
  @shortdoc "Says why nodes do not come together, and what to change"
  @moduledoc """
  Says why nodes do not come together, and what to change.

      mix foundation.doctor
      mix foundation.doctor --expect other@host
      mix foundation.doctor --sname doctor --cookie secret --on app@host
      mix foundation.doctor --cluster ai

  Looks at what `config :foundation, cluster:` asks for, from where the task runs. Options:

    * `--on NODE`: ask the running node instead, which needs a name and its cookie
    * `--cluster NAME`: look at that cluster instead of the main one: one that the node has joined, or that
      `config :foundation, clusters:` names
    * `--expect NODE`: a node that should be in the cluster; may be given several times
    * `--sname NAME`, `--name NAME`: a node name for the task itself, without which it has none
    * `--cookie COOKIE`: its cookie
    * `--verbose`: also say what is in order

  Ends with status 1 when something is wrong. `Foundation.Cluster.Doctor` tells what is looked at, `guides/doctor.md` every
  finding.
  """

  use Mix.Task

  alias Foundation.Cluster.Doctor
  alias Foundation.Distributed.Clusters

  @switches [
    on: :string,
    cluster: :string,
    expect: [:string, :keep],
    sname: :string,
    name: :string,
    cookie: :string,
    verbose: :boolean
  ]

  @impl true
  def run(argv) do
    {opts, rest} = OptionParser.parse!(argv, strict: @switches)
    if rest != [], do: Mix.raise("foundation.doctor takes no arguments, and got: #{Enum.join(rest, " ")}")

    Mix.Task.run("app.config")
    name(opts)
    {verdict, findings} = ask(opts)
    Mix.shell().info(Doctor.format(findings, verbose: Keyword.get(opts, :verbose, false)))
    if verdict == :problems, do: exit({:shutdown, 1})
  end

  defp name(opts) do
    case {opts[:sname], opts[:name]} do
      {nil, nil} -> :ok
      {short, nil} -> start(short, :shortnames)
      {nil, long} -> start(long, :longnames)
      {_, _} -> Mix.raise("--sname and --name exclude each other")
    end

    if opts[:cookie], do: cookie(String.to_atom(opts[:cookie]))
  end

  defp start(name, kind) do
    case Node.start(String.to_atom(name), kind) do
      {:ok, _} -> :ok
      {:error, {:already_started, _}} -> :ok
      # The doctor says why.
      {:error, _} -> Mix.shell().error("a node called #{name} cannot be started")
    end
  end

  defp cookie(cookie), do: if(Node.alive?(), do: Node.set_cookie(cookie), else: :ok)

  defp ask(opts) do
    expected = opts |> Keyword.get_values(:expect) |> Enum.map(&String.to_atom/1)

    case opts[:on] do
      nil -> here(opts[:cluster], expected)
      node -> remote(String.to_atom(node), opts[:cluster], expected)
    end
  end

  defp here(cluster, expected) do
    # The application itself is not started.
    Clusters.attend()
    known = Clusters.known()
    unless cluster == nil or cluster in known, do: unknown(cluster, "this configuration", known)
    Doctor.run([nodes: expected, connect: false] ++ of(cluster))
  end

  defp of(nil), do: []
  defp of(cluster), do: [cluster: String.to_atom(cluster)]

  defp remote(node, cluster, expected) do
    if Node.alive?() and Node.connect(node) == true do
      known = if cluster, do: :erpc.call(node, Clusters, :known, [])
      unless cluster == nil or cluster in known, do: unknown(cluster, node, known)
      :erpc.call(node, Doctor, :run, [[nodes: expected] ++ of(cluster)])
    else
      Mix.shell().info("#{node} cannot be connected from here; what follows is why")
      Doctor.run(nodes: [node | expected], connect: false)
    end
  end

  defp unknown(cluster, who, []), do: Mix.raise("#{who} knows no cluster #{cluster}, nor any other by name")

  defp unknown(cluster, who, known),
    do: Mix.raise("#{who} knows no cluster #{cluster}; it knows #{Enum.join(known, ", ")}")
end
