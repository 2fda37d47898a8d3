defmodule Foundation.ConfigSecurityTest do
  # Hostile paths, values, votes and requests: each a clear error, and the service goes on.
  use ExUnit.Case, async: false

  alias Foundation.Config
  alias Foundation.Config.Guard
  alias Foundation.Services.ConfigServer
  alias Foundation.Types.Error

  setup do
    :ok = ConfigServer.reset_state()
    {:ok, pid} = Foundation.ProcessRegistry.lookup(:production, :config_server)
    on_exit(fn -> ConfigServer.reset_state() end)
    {:ok, server: pid}
  end

  @hostile [
    nil,
    true,
    1.5,
    -1,
    Bitwise.bsl(1, 10_000),
    "",
    <<255, 0>>,
    <<1::3>>,
    {},
    %{},
    [],
    [[]],
    [1 | 2],
    [:ai | :provider],
    %{__struct__: System},
    %{__struct__: :no_such_module},
    &is_atom/1,
    ~D[2020-01-01],
    :__struct__
  ]

  defp hostile do
    deep = Enum.reduce(1..10_000, 1, fn _, inner -> [inner] end)
    wide = Enum.to_list(1..50_000)
    deep_map = Enum.reduce(1..10_000, 1, fn _, inner -> %{a: inner} end)
    [deep, wide, deep_map, :binary.copy("x", 2_000_000), self(), make_ref() | @hostile]
  end

  test "any list is a path: a value or an error", %{server: server} do
    for one <- hostile(), path <- [[one], [:ai, one], [:ai, :provider, one]] do
      assert match?({:ok, _}, Config.get(path)) or match?({:error, %Error{}}, Config.get(path))
      assert {:error, %Error{}} = Config.update(path, 1)
      assert {:error, %Error{}} = Config.validate_and_update([{path, 1}])
    end

    assert Process.alive?(server)
  end

  test "any value is refused or fits, and nothing breaks", %{server: server} do
    for value <- hostile(), path <- Config.updatable_paths() do
      assert Config.update(path, value) == :ok or match?({:error, %Error{}}, Config.update(path, value))
    end

    assert Process.alive?(server)
    {:ok, config} = Config.get()
    assert Config.validate(config) == :ok
  end

  test "requests and messages that nobody sends", %{server: server} do
    for term <- hostile() do
      for request <- [
            term,
            {:subscribe, :no_pid, term},
            {:subscribe, self(), [term]},
            {:subscribe, self(), [deadline: term]},
            {:validate_and_update, [term], []},
            {:validate_and_update, [], [term]},
            {:validate_and_update, [], [on_silence: term]},
            {:history, [term]},
            {:update_config, :no_list, term}
          ] do
        assert GenServer.call(server, request) == {:error, :unauthorized_access}
      end

      assert {:error, %Error{}} = GenServer.call(server, {:register_schema, term})
      assert {:error, %Error{}} = GenServer.call(server, {:rollback, term})

      send(server, term)
      send(server, {:config_vote, term, term, term})
    end

    assert {:ok, %{subscribers_count: 0}} = Config.status()
    assert Process.alive?(server)
  end

  test "a path that is safe now is not walked into when its configuration is not" do
    assert Guard.sealed?(%{a: %{b: 1}, __struct__: X})
    refute Guard.sealed?(%{a: %{System => 1}})
    refute Guard.sealed?(%{a: %{1 => 1}})
    refute Guard.sealed?(%{a: %{"../x" => 1}})
    refute Guard.sealed?(Enum.reduce(1..60, 1, fn _, inner -> %{a: inner} end))
  end

  test "names that only resemble dangerous ones pass" do
    assert Guard.path([:system, "files", :__strukt__, :elixir, :"Elixir.Systemic"]) != :ok
    assert Guard.path([:system, "files", :__strukt__, :elixir, MyApp.Config]) == :ok
  end
end
