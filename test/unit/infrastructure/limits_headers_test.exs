defmodule Foundation.Infrastructure.LimitsHeadersTest do
  use ExUnit.Case, async: true

  alias Foundation.Infrastructure.Limits
  alias Foundation.Infrastructure.Limits.{Headers, Profile}

  @now ~U[2026-01-01 00:00:00Z]

  test "reads what OpenAI and Azure send" do
    headers = [
      {"X-RateLimit-Limit-Requests", "60"},
      {"x-ratelimit-limit-tokens", "150000"},
      {"x-ratelimit-remaining-requests", "59"},
      {"x-ratelimit-remaining-tokens", "149984"},
      {"x-ratelimit-reset-requests", "1s"},
      {"x-ratelimit-reset-tokens", "6m0s"},
      {"content-type", "application/json"}
    ]

    assert Headers.parse(headers, nil, @now) == %{
             requests: %{limit: 60, remaining: 59, reset_ms: 1_000},
             tokens: %{limit: 150_000, remaining: 149_984, reset_ms: 360_000}
           }
  end

  test "reads what Anthropic sends" do
    headers = %{
      "anthropic-ratelimit-requests-limit" => ["50"],
      "anthropic-ratelimit-requests-remaining" => "49",
      "anthropic-ratelimit-requests-reset" => "2026-01-01T00:00:01Z",
      "anthropic-ratelimit-input-tokens-remaining" => "29000",
      "anthropic-ratelimit-output-tokens-limit" => "8000",
      "retry-after" => "15"
    }

    assert Headers.parse(headers, nil, @now) == %{
             requests: %{limit: 50, remaining: 49, reset_ms: 1_000},
             input_tokens: %{remaining: 29_000},
             output_tokens: %{limit: 8_000},
             retry_after_ms: 15_000
           }
  end

  test "reads every form of a time" do
    reset = fn text -> Headers.parse([{"x-ratelimit-reset-tokens", text}], nil, @now) end
    retry = fn name, text -> Headers.parse([{name, text}], nil, @now) end

    for {text, ms} <- [{"20ms", 20}, {"1h2m3.5s", 3_723_500}, {"7", 7_000}, {"1767225602", 2_000}] do
      assert reset.(text) == %{tokens: %{reset_ms: ms}}
    end

    assert retry.("Retry-After", "Thu, 01 Jan 2026 00:00:09 GMT") == %{retry_after_ms: 9_000}
    assert retry.("Retry-After", "1.5") == %{retry_after_ms: 1_500}
    assert retry.("retry-after-ms", "250") == %{retry_after_ms: 250}
    assert retry.(~c"retry-after-ms", ~c"250") == %{retry_after_ms: 250}
  end

  test "passes over what is nonsense" do
    for {name, value} <- [
          {"retry-after", "soon"},
          {"retry-after", "Thu, 99 Foo 2026 00:00:00 GMT"},
          {"x-ratelimit-limit-requests", "-5"},
          {"x-ratelimit-limit-requests", "1e400"},
          {"x-ratelimit-", "5"},
          {"anthropic-ratelimit-", "5"},
          {"x-ratelimit-reset-requests", "6x0s"},
          {"x-ratelimit-limit-requests", <<255>>},
          {nil, 5},
          {"x-ratelimit-limit-requests", %{}}
        ] do
      assert {name, Headers.parse([{name, value}], nil, @now)} == {name, %{}}
    end
  end

  test "a key learns limits, remaining budget and a pause" do
    key = {__MODULE__, :learn}
    {:ok, profile} = Limits.provider_profile(:openai)
    :ok = Limits.set_limits(key, profile)

    headers = [
      {"x-ratelimit-limit-requests", "1000"},
      {"x-ratelimit-remaining-requests", "10"},
      {"retry-after-ms", "60000"}
    ]

    assert {:ok, %{requests: %{limit: 1_000, remaining: 10}, retry_after_ms: 60_000}} =
             Limits.update_from_headers(key, headers)

    {:ok, peek} = Limits.peek(key)
    assert peek.dimensions.requests.limit == 1_000
    assert_in_delta peek.dimensions.requests.remaining, 10, 5
    assert peek.paused_ms in 1..60_000
    assert {:error, {:limited, %{dimension: :paused, key: ^key}}} = Limits.acquire(key, %{requests: 1})
    assert Limits.update_from_headers({key, :none}, headers) == {:error, :unknown_key}
    assert Limits.update_from_headers(key, %{}) == {:ok, %{}}
  end

  test "every profile can be set, and costs fit its dimensions" do
    for provider <- [:openai, :anthropic, :azure_openai, :gemini] do
      {:ok, profile} = Limits.provider_profile(provider)
      assert Limits.set_limits({__MODULE__, provider}, profile) == :ok
      costs = Profile.costs(profile, input_tokens: 9, output_tokens: 3)
      assert Limits.acquire({__MODULE__, provider}, costs) == :ok
    end

    assert Limits.provider_profile(:nobody) == {:error, {:unknown_provider, :nobody}}
  end

  test "a profile of one's own has its own headers" do
    own = %{
      name: :mine,
      limits: [calls: [limit: 5, per: 1_000]],
      headers: %{"x-left" => {:calls, :remaining}}
    }

    {:ok, profile} = Limits.provider_profile(own, calls: 50, more: [limit: 3])
    assert profile.limits == [calls: [limit: 50, per: 1_000], more: [limit: 3]]
    key = {__MODULE__, :own}
    :ok = Limits.set_limits(key, profile)
    assert Limits.update_from_headers(key, [{"X-Left", "7"}], profile) == {:ok, %{calls: %{remaining: 7}}}
    assert {:error, {:invalid_profile, _}} = Limits.provider_profile(%{limits: 5})
  end
end
