defmodule Foundation.HttpWorkerContractTest do
  # Section 14 of the 1.x contract, HttpWorker, against a real server.
  use ExUnit.Case, async: true

  alias Foundation.HttpServer
  alias Foundation.Infrastructure.PoolWorkers.HttpWorker

  setup_all do
    %{server: HttpServer.start()}
  end

  defp worker(server, options \\ []) do
    start_supervised!({HttpWorker, Keyword.merge([base_url: server.url, timeout: 5_000], options)},
      id: make_ref()
    )
  end

  describe "configuration" do
    test "each wrong base URL stops the worker with its reason" do
      Process.flag(:trap_exit, true)

      for {config, reason} <- [
            {[], :missing_base_url},
            {[base_url: nil], :missing_base_url},
            {[base_url: ""], :empty_base_url},
            {[base_url: 42], :invalid_base_url_type},
            {[base_url: "ftp://x"], :invalid_scheme}
          ] do
        assert HttpWorker.start_link(config) == {:error, {:invalid_config, reason}}
      end
    end

    test "get_status/1 tells defaults and counts" do
      {:ok, pid} = HttpWorker.start_link(base_url: "http://localhost:1")
      {:ok, status} = HttpWorker.get_status(pid)

      assert %{base_url: "http://localhost:1", timeout: 30_000, headers: [{"User-Agent", "Foundation/1.0"}]} =
               status

      assert status.stats == %{requests_made: 0, last_request_at: nil, errors: 0}
      assert is_integer(status.uptime)
      assert HttpWorker.get(pid, "/") == {:error, :econnrefused}
      {:ok, %{stats: stats}} = HttpWorker.get_status(pid)
      assert %{requests_made: 1, errors: 1, last_request_at: %DateTime{}} = stats
    end
  end

  describe "requests" do
    test "get sends path, params and headers", %{server: server} do
      worker = worker(server, headers: [{"X-One", "1"}, {"X-Two", "2"}])
      options = [params: [q: "a b&c", n: 1], headers: [{"x-two", "zwei"}]]

      assert {:ok, %{status_code: 200, headers: headers, body: body}} =
               HttpWorker.get(worker, "echo", options)

      assert {"content-type", "text/plain"} in headers
      assert body =~ "GET /echo?q=a+b%26c&n=1"
      assert body =~ "x-one: 1"
      assert body =~ "x-two: zwei"
      refute body =~ "x-two: 2"
    end

    test "post sends binaries, forms and JSON", %{server: server} do
      worker = worker(server)

      for {body, type, sent} <- [
            {"raw", "application/octet-stream", "raw"},
            {{:iodata, ["a", ?b]}, "application/octet-stream", "ab"},
            {{:form, a: 1, b: "x y"}, "application/x-www-form-urlencoded", "a=1&b=x+y"},
            {%{"a" => [1, nil, true, "\"\n"]}, "application/json", ~S({"a":[1,null,true,"\"\n"]})}
          ] do
        assert {:ok, %{body: echoed}} = HttpWorker.post(worker, "/echo", body)
        assert echoed =~ "content-type: #{type}\n"
        assert String.ends_with?(echoed, "\n\n" <> sent)
      end

      assert {:error, {:no_json, {:a, :b}}} = HttpWorker.post(worker, "/echo", %{x: {:a, :b}})
    end

    test "every status is an answer", %{server: server} do
      worker = worker(server)

      for status <- [200, 204, 404, 500, 503] do
        assert {:ok, %{status_code: ^status}} = HttpWorker.get(worker, "/status/#{status}")
      end

      assert {:ok, %{stats: %{errors: 0, requests_made: 5}}} = HttpWorker.get_status(worker)
    end

    test "chunked bodies are put together", %{server: server} do
      assert {:ok, %{body: "abcde"}} = HttpWorker.get(worker(server), "/chunked")
    end

    test "control characters do not get into a request", %{server: server} do
      worker = worker(server)
      assert HttpWorker.get(worker, "/a\r\nX: y") == {:error, {:invalid_request, :path}}

      assert HttpWorker.get(worker, "/a", headers: [{"a", "b\r\nX: y"}]) ==
               {:error, {:invalid_request, :headers}}

      assert HttpWorker.get(worker, "/a", headers: [{"a: b", "c"}]) == {:error, {:invalid_request, :headers}}
      assert HttpWorker.get(worker, "/a", headers: %{}) == {:error, {:invalid_request, :headers}}
      assert HttpWorker.get(worker, "/a", params: :no) == {:error, {:invalid_request, :params}}
    end
  end

  describe "transport failures" do
    test "a slow, a truncating and a babbling server", %{server: server} do
      assert HttpWorker.get(worker(server, timeout: 200), "/slow") == {:error, :timeout}
      worker = worker(server)
      assert HttpWorker.get(worker, "/truncated") == {:error, :closed}
      assert {:error, _} = HttpWorker.get(worker, "/garbage")
      assert {:ok, %{status_code: 200}} = HttpWorker.get(worker, "/echo")
    end

    test "no such host" do
      {:ok, pid} = HttpWorker.start_link(base_url: "http://no-such-host.invalid", timeout: 5_000)
      assert {:error, reason} = HttpWorker.get(pid, "/")
      assert reason in [:nxdomain, :timeout]
    end
  end

  describe "redirects" do
    test "are followed up to their bound", %{server: server} do
      worker = worker(server, max_redirects: 3)
      assert {:ok, %{status_code: 200, body: "GET /echo" <> _}} = HttpWorker.get(worker, "/redirect/301/2")
      assert HttpWorker.get(worker, "/redirect/301/3") == {:error, :too_many_redirects}
      assert HttpWorker.get(worker, "/loop") == {:error, :too_many_redirects}
    end

    test "only 307 and 308 keep a POST", %{server: server} do
      worker = worker(server)
      assert {:ok, %{body: "POST /echo" <> rest}} = HttpWorker.post(worker, "/redirect/307/0", "data")
      assert String.ends_with?(rest, "data")
      assert {:ok, %{body: "GET /echo" <> _}} = HttpWorker.post(worker, "/redirect/303/0", "data")
    end

    test "take no credentials to another origin, and go to HTTP only", %{server: server} do
      other = HttpServer.start()
      worker = worker(server, headers: [{"Authorization", "secret"}])
      assert {:ok, %{body: body}} = HttpWorker.get(worker, "/to?#{other.url}/echo")
      refute body =~ "secret"
      assert {:ok, %{body: body}} = HttpWorker.get(worker, "/to?#{server.url}/echo")
      assert body =~ "secret"
      assert {:error, {:invalid_redirect, _}} = HttpWorker.get(worker, "/to?file:///etc/passwd")
    end
  end

  describe "TLS" do
    setup do
      {server, cacerts} = HttpServer.certificates()
      %{tls: HttpServer.start(ssl: server), cacerts: cacerts}
    end

    test "a certificate of a known authority for the right host", %{tls: tls, cacerts: cacerts} do
      worker = worker(tls, cacerts: cacerts)
      assert {:ok, %{status_code: 200, body: "GET /echo" <> _}} = HttpWorker.get(worker, "/echo")
      assert {:error, {:invalid_redirect, _}} = HttpWorker.get(worker, "/to?http://localhost:1/")
    end

    test "an authority that is not known", %{tls: tls} do
      {_, others} = HttpServer.certificates()
      assert {:error, {:tls, alert}} = HttpWorker.get(worker(tls, cacerts: others), "/echo")
      assert alert in [:unknown_ca, :bad_certificate, :handshake_failure]
    end

    test "another host's certificate", %{tls: tls, cacerts: cacerts} do
      worker = worker(%{tls | url: "https://127.0.0.1:#{tls.port}"}, cacerts: cacerts)
      assert {:error, {:tls, alert}} = HttpWorker.get(worker, "/echo")
      # Later releases of OTP say the latter.
      assert alert in [:handshake_failure, :bad_certificate]
    end
  end

  test "a killed worker takes its profile along and its number is used again", %{server: server} do
    {:ok, pid} = Task.async(fn -> GenServer.start(HttpWorker, base_url: server.url) end) |> Task.await()
    profile = :sys.get_state(pid).profile
    ref = Process.monitor(profile)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^ref, :process, _, _}, 5_000
  end
end
