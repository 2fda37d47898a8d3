defmodule Foundation.Config.OverlayTest do
  # What is set for the cluster, over what a node has of its own.
  use ExUnit.Case, async: true

  alias Foundation.Config.{Change, Overlay, Registration}
  alias Foundation.ConfigSchemas.{Numbers, PaymentsConfig}
  alias Foundation.Types.Config

  @schemas [PaymentsConfig, Numbers]

  defp config do
    {:ok, config} = Registration.defaults(Config.new(), @schemas)
    config
  end

  test "what is set is in force, and what lies beneath comes back" do
    {config, overlay} =
      Overlay.put(config(), @schemas, Overlay.new(), %{[:numbers, :a] => 5, [:dev, :debug_mode] => true})

    assert config.numbers.a == 5
    assert config.dev.debug_mode
    {config, overlay} = Overlay.put(config, @schemas, overlay, %{[:numbers, :a] => 7})
    assert config.numbers.a == 7
    refute config.dev.debug_mode
    assert {^config, _} = Overlay.again(config, @schemas, overlay)
    {config, overlay} = Overlay.put(config, @schemas, overlay, %{})
    assert {config, overlay} == {config(), Overlay.new()}
  end

  test "one section's refusal keeps no other out, and values that need each other are taken together" do
    values = %{
      [:payments, :key] => "sk_1",
      [:payments, :provider] => :stripe,
      [:payments, :timeout] => 1,
      [:numbers, :a] => 1,
      [:unknown, :x] => 1
    }

    {config, overlay} = Overlay.put(config(), @schemas, Overlay.new(), values)

    assert {config.payments.provider, config.payments.key, config.payments.timeout} ==
             {:stripe, "sk_1", 5_000}

    assert config.numbers.a == 1
    assert Enum.sort(Map.keys(overlay.refused)) == [[:payments, :timeout], [:unknown, :x]]
    assert overlay.refused[[:unknown, :x]].error_type == :config_update_forbidden
    assert overlay.refused[[:payments, :timeout]].error_type == :validation_failed
  end

  test "what is refused later keeps the value that it had, and what lies beneath that is not forgotten" do
    {config, overlay} = Overlay.put(config(), @schemas, Overlay.new(), %{[:numbers, :a] => 5})
    {config, overlay} = Overlay.put(config, @schemas, overlay, %{[:numbers, :a] => 5_000})
    assert config.numbers.a == 5
    assert [[:numbers, :a]] = Map.keys(overlay.refused)
    {config, _} = Overlay.put(config, @schemas, overlay, %{})
    assert config.numbers.a == 0
  end

  test "what was made anew has the values over it" do
    {_config, overlay} = Overlay.put(config(), @schemas, Overlay.new(), %{[:numbers, :a] => 5})
    {anew, overlay} = Overlay.over(put_in(config().numbers.a, 3), @schemas, overlay)
    assert anew.numbers.a == 5
    assert {%{numbers: %{a: 3}}, _} = Overlay.put(anew, @schemas, overlay, %{})
  end

  test "paths that are set, above them and below them are taken; others are free" do
    {_config, overlay} =
      Overlay.put(config(), @schemas, Overlay.new(), %{[:payments, :retry, :attempts] => 5})

    for path <- [[:payments, :retry, :attempts], [:payments, :retry]] do
      assert {:error, error} = Overlay.free(overlay, [{[:dev, :debug_mode], true}, {path, 1}])
      assert error.error_type == :config_update_forbidden
      assert error.context.reason == :set_cluster_wide
    end

    assert Overlay.free(overlay, [{[:payments, :timeout], 1}, {[:payments | :x], 1}]) == :ok
    assert Overlay.free(Overlay.new(), [{[:payments, :retry], 1}]) == :ok
  end

  test "changes are those of the paths that differ" do
    old = config()
    {new, _} = Overlay.put(old, @schemas, Overlay.new(), %{[:numbers, :a] => 5, [:numbers, :b] => 0})

    assert Overlay.changes(old, new, [[:numbers, :a], [:numbers, :b], [:numbers, :a]]) == [
             %{path: [:numbers, :a], old: {:ok, 0}, new: {:ok, 5}}
           ]

    assert Change.fetch(new, [:numbers, :zz]) == :missing
  end
end
