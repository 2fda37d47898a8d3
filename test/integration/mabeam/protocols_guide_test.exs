defmodule Foundation.MABEAM.ProtocolsGuideTest do
  use ExUnit.Case, async: false

  setup do
    on_exit(&Foundation.MabeamAgents.stop/0)
  end

  test "the guide's code does what the guide says" do
    assert Foundation.Guide.run("guides/protocols.md") == 14
  end

  test "the guide has every built-in protocol that its table is for" do
    {:ok, _} = Foundation.MABEAM.start()
    text = File.read!("guides/protocols.md")

    for %{name: name, module: module} <- Foundation.MABEAM.Coordination.list_protocols(),
        String.starts_with?(inspect(module), "Foundation.MABEAM.Coordination."),
        name != :hierarchical,
        do: assert(text =~ "`#{inspect(name)}`", "#{inspect(name)} is not in the guide")
  end
end
