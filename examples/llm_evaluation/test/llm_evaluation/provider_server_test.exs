defmodule LlmEvaluation.ProviderServerTest do
  use ExUnit.Case, async: true

  alias Foundation.Infrastructure.PoolWorkers.HttpWorker
  alias LlmEvaluation.{JSON, ProviderServer}

  @settings %{
    name: :tested,
    seed: 1,
    requests: 2,
    tokens: 1_000,
    latency_ms: 0..1,
    errors: 0,
    slow: 0,
    slow_ms: 0,
    wrong: 0,
    outage: 0..0
  }

  defp start(settings \\ %{}) do
    server = start_supervised!({ProviderServer, Map.merge(@settings, settings)})
    {:ok, worker} = HttpWorker.start_link(base_url: ProviderServer.url(server), timeout: 5_000)
    {server, worker}
  end

  defp ask(worker, content \\ "What is 6 times 7?") do
    body = %{messages: [%{role: "user", content: content}], max_tokens: 16}
    {:ok, response} = HttpWorker.post(worker, "/v1/chat/completions", body)
    {:ok, answer} = JSON.decode(response.body)
    {response.status_code, Map.new(response.headers), answer}
  end

  test "answers, and says what is left of its limits" do
    {server, worker} = start()
    assert {200, headers, answer} = ask(worker)
    assert %{"choices" => [%{"message" => %{"content" => "Answer: 42"}}]} = answer
    assert %{"prompt_tokens" => 5, "completion_tokens" => 3} = answer["usage"]
    assert %{"x-ratelimit-limit-requests" => "2", "x-ratelimit-remaining-requests" => "1"} = headers
    assert {200, _, _} = ask(worker)
    assert {429, %{"retry-after" => "1"}, %{"error" => %{"code" => "rate_limit_exceeded"}}} = ask(worker)
    assert ProviderServer.answered(server) == %{200 => 2, 429 => 1}
  end

  test "limits tokens too" do
    {_server, worker} = start(%{requests: 100, tokens: 30})
    assert {200, _, _} = ask(worker)
    assert {429, _, _} = ask(worker)
  end

  test "fails as often as it is to, and during its outage" do
    {_server, worker} = start(%{requests: 100, errors: 10_000, outage: 2..2})
    assert {500, _, _} = ask(worker)
    assert {503, _, _} = ask(worker)
  end

  test "is wrong as often as it is to" do
    {_server, worker} = start(%{requests: 100, wrong: 10_000})
    assert {200, _, %{"choices" => [%{"message" => %{"content" => "Answer: 43"}}]}} = ask(worker)
  end

  test "refuses what it cannot read, and other paths" do
    {_server, worker} = start()
    assert {:ok, %{status_code: 400}} = HttpWorker.post(worker, "/v1/chat/completions", "no JSON")
    assert {:ok, %{status_code: 404}} = HttpWorker.get(worker, "/v1/models")
  end
end
