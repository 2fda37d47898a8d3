defmodule Foundation.TidewaveEndpointTest do
  use ExUnit.Case, async: false
  import ExUnit.CaptureLog
  alias Foundation.{FakeModules, TidewaveEndpoint}

  defp development do
    Application.put_env(:foundation, :environment, :dev)
    on_exit(fn -> Application.delete_env(:foundation, :environment) end)
  end

  defp load_tidewave do
    FakeModules.load(
      Tidewave,
      quote do
        def init(opts), do: {:options, opts}
        def call(%{path: "/tidewave"} = conn, {:options, []}), do: %{conn | state: :sent}
        def call(conn, _), do: conn
      end
    )
  end

  test "is a permanent worker" do
    assert TidewaveEndpoint.child_spec(:opts) == %{
             id: TidewaveEndpoint,
             start: {TidewaveEndpoint, :start_link, [:opts]},
             type: :worker,
             restart: :permanent,
             shutdown: 500
           }
  end

  test "does not start outside development or without Tidewave" do
    assert TidewaveEndpoint.start_link([]) == {:error, :not_available_in_production}
    development()
    assert TidewaveEndpoint.start_link([]) == {:error, :not_available_in_production}
    Application.delete_env(:foundation, :environment)
    load_tidewave()
    assert TidewaveEndpoint.start_link([]) == {:error, :not_available_in_production}
  end

  test "starts Tidewave on the local interface under the web server that is there" do
    development()
    load_tidewave()
    assert capture_log(fn -> assert TidewaveEndpoint.start_link([]) == :ignore end) =~ "nothing is served"

    FakeModules.load(Plug.Cowboy, quote(do: def(http(plug, [], opts), do: {:ok, {:cowboy, plug, opts}})))

    assert TidewaveEndpoint.start_link([]) ==
             {:ok, {:cowboy, TidewaveEndpoint, [ip: {127, 0, 0, 1}, port: 4040]}}

    FakeModules.load(Bandit, quote(do: def(start_link(opts), do: {:ok, {:bandit, opts}})))

    assert TidewaveEndpoint.start_link([]) ==
             {:ok, {:bandit, [plug: TidewaveEndpoint, ip: {127, 0, 0, 1}, port: 4040]}}
  end

  test "answers what Tidewave does not with 404" do
    load_tidewave()
    FakeModules.load(Plug.Conn, quote(do: def(send_resp(conn, code, text), do: {:sent, conn, code, text})))
    opts = TidewaveEndpoint.init([])
    assert %{state: :sent} = TidewaveEndpoint.call(%{path: "/tidewave", state: :unset}, opts)
    other = %{path: "/", state: :unset}
    assert TidewaveEndpoint.call(other, opts) == {:sent, other, 404, "Not found"}
  end
end
