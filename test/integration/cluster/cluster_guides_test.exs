defmodule Foundation.Cluster.ClusterGuidesTest do
  # The guides of strategies and of the doctor: what is Elixir in them runs, what is configuration is read, and every
  # finding that the doctor can have is listed.
  use ExUnit.Case, async: false

  alias Foundation.Cluster.Config
  alias Foundation.Guide

  defp configurations(path) do
    text = File.read!(path)

    for [code] <- Regex.scan(~r/^```elixir\n(import Config\n.*?)^```$/ms, text, capture: :all_but_first),
        do: code
  end

  # The guide without its configurations, which are no programs.
  defp run(path) do
    text = Regex.replace(~r/^```elixir\nimport Config\n.*?^```$/ms, File.read!(path), "")
    copy = Path.join(System.tmp_dir!(), "guide_#{System.pid()}.md")
    File.write!(copy, text)
    on_exit(fn -> File.rm(copy) end)
    checks = Guide.run(copy)
    # What the guide defines is not left to the tests that follow.
    :code.delete(MyApp.FromFile)
    :code.purge(MyApp.FromFile)
    checks
  end

  test "the code of both guides does what they say" do
    assert run("guides/strategies.md") == 2
    assert run("guides/doctor.md") == 1
  end

  test "every configuration in the guide of strategies is one" do
    unless Code.ensure_loaded?(MyApp.FromFile),
      do: Module.create(MyApp.FromFile, quote(do: def(start_link(_), do: :ignore)), __ENV__)

    codes = configurations("guides/strategies.md")
    assert length(codes) == 11

    for code <- codes do
      path = Path.join(System.tmp_dir!(), "config_#{System.pid()}.exs")
      File.write!(path, code)
      config = Elixir.Config.Reader.read!(path)
      File.rm!(path)
      spec = config[:foundation][:libcluster_topologies] || config[:foundation][:cluster]
      assert {:ok, %{topologies: [_ | _] = topologies}} = Config.read(spec, []), code
      for topology <- topologies, do: assert(Code.ensure_loaded?(topology.module))
    end

    :code.delete(MyApp.FromFile)
    :code.purge(MyApp.FromFile)
  end

  test "the guide of the doctor lists every cause" do
    guide = File.read!("guides/doctor.md")
    files = Path.wildcard("lib/foundation/cluster/doctor/*.ex") ++ ["lib/foundation/cluster/doctor.ex"]
    source = Enum.map_join(files, &File.read!/1)

    causes =
      Regex.scan(~r/(?:error|warning)\(\s*:\w+,\s*:(\w+),/, source, capture: :all_but_first) ++
        Regex.scan(~r/\{:(\w+),\s*"/, File.read!("lib/foundation/cluster/doctor/explain.ex"),
          capture: :all_but_first
        )

    causes = causes |> List.flatten() |> Enum.uniq()
    assert length(causes) > 50
    for cause <- causes, do: assert(guide =~ "`#{cause}`", "#{cause} is missing in guides/doctor.md")
  end
end
