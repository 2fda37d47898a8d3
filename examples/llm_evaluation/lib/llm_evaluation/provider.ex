defmodule LlmEvaluation.Provider do
  @moduledoc """
  One provider of language models, with all that stands between it and the program.

  From the outside in: retries with jitter; the provider's limits, which are learnt from its headers and wait for their turn;
  a breaker; a pool of connections. What a call costs in tokens is reserved before it and settled after it.
  """

  alias Foundation.{Infrastructure, Telemetry}
  alias Foundation.Infrastructure.{Breaker, Limits, Pool}
  alias Foundation.Infrastructure.Limits.Profile
  alias Foundation.Infrastructure.PoolWorkers.HttpWorker
  alias LlmEvaluation.JSON

  defmodule Refusal do
    @moduledoc "Why a provider did not answer, in the form that retries understand."
    defexception [:reason]

    @impl true
    def message(%{reason: reason}), do: "the provider did not answer: #{inspect(reason)}"
  end

  @enforce_keys [:name, :profile, :pool, :price, :patience_ms, :attempts]
  defstruct [:name, :profile, :pool, :price, :patience_ms, :attempts]

  @typedoc "`price` is in millionths for 1,000 tokens; `patience_ms` is how long a call waits for its turn."
  @type t :: %__MODULE__{
          name: atom,
          profile: Profile.t(),
          pool: pid,
          price: %{input: pos_integer, output: pos_integer},
          patience_ms: pos_integer,
          attempts: pos_integer
        }

  @type request :: %{messages: [LlmEvaluation.Signature.message()], max_tokens: pos_integer}
  @type completion :: %{
          text: String.t(),
          provider: atom,
          usage: %{input_tokens: non_neg_integer, output_tokens: non_neg_integer},
          cost: non_neg_integer,
          instead_of: [{atom, reason}]
        }
  @type reason :: :no_quota | :breaker_open | :timeout | {:status, pos_integer} | term

  @timeout_ms 1_000
  @breaker [
    tolerance: nil,
    failure_rate: 0.5,
    minimum_calls: 20,
    window_ms: 2_000,
    open_ms: 500,
    probes: 3,
    ramp_ms: 1_000
  ]

  @doc """
  Sets a provider up: its limits, breaker, and `connections:` to `url`. Other options: `price:`, `patience_ms:`, and how many
  `attempts:` a request is worth.

  The limits are a guess, which the first answers put right.
  """
  @spec start(atom, String.t(), keyword) :: t
  def start(name, url, options) do
    {connections, options} = Keyword.pop!(options, :connections)
    {:ok, profile} = Limits.provider_profile(guess(name, connections))
    :ok = Limits.set_limits(name, profile)
    :ok = Breaker.configure(name, @breaker)
    worker = {HttpWorker, [base_url: url, timeout: @timeout_ms]}
    {:ok, pool} = Pool.start_link(name: name, worker: worker, min: connections)
    struct!(__MODULE__, [name: name, profile: profile, pool: pool] ++ options)
  end

  defp guess(name, connections) do
    %{
      name: name,
      limits: [
        requests: [limit: 20, per: 1_000],
        tokens: [limit: 2_000, per: 1_000],
        concurrency: [limit: connections]
      ],
      counts: %{tokens: [:input_tokens, :output_tokens]}
    }
  end

  @doc "Closes its connections."
  @spec stop(t) :: :ok
  def stop(provider), do: Pool.stop(provider.pool)

  @doc "What a request costs at most, in millionths."
  @spec most(t, request) :: pos_integer
  def most(provider, request), do: cost(provider, estimate(request))

  @doc "What usage costs, in millionths."
  @spec cost(t, map) :: non_neg_integer
  def cost(%{price: price}, usage) do
    thousandths = usage.input_tokens * price.input + usage.output_tokens * price.output
    div(thousandths + 999, 1_000)
  end

  # No token is shorter than two bytes here.
  defp estimate(request) do
    bytes = request.messages |> Enum.map(&byte_size(&1.content)) |> Enum.sum()
    %{input_tokens: div(bytes, 2), output_tokens: request.max_tokens}
  end

  @doc "Has the provider answer. The error is the reason of the last attempt."
  @spec complete(t, request) :: {:ok, completion} | {:error, reason}
  def complete(provider, request) do
    retry = [max_attempts: provider.attempts, base_ms: 50, max_ms: 1_000, on: &again?/1]

    case Infrastructure.execute_protected(provider.name, [retry: retry], fn -> attempt!(provider, request) end) do
      {:ok, completion} -> {:ok, completion}
      {:error, {:execution_error, %Refusal{reason: reason}}} -> {:error, reason}
    end
  end

  # Waiting for a turn again, or for a breaker, is worse than asking another provider.
  defp again?({:execution_error, %Refusal{reason: reason}}) do
    case reason do
      {:status, status} -> status == 429 or status >= 500
      reason -> reason not in [:no_quota, :breaker_open]
    end
  end

  defp again?(_other), do: false

  defp attempt!(provider, request) do
    result = attempt(provider, request)
    Telemetry.counter_add([:llm_evaluation, :attempt], 1, %{provider: provider.name, result: label(result)})

    case result do
      {:ok, completion} -> completion
      {:error, reason} -> raise Refusal, reason: reason
    end
  end

  defp label({:ok, _completion}), do: "answered"
  defp label({:error, {:status, status}}), do: "status #{status}"
  defp label({:error, reason}) when is_atom(reason), do: to_string(reason)
  defp label({:error, _reason}), do: "other"

  # -- one attempt ---------------------------------------------------------------------------------------------------

  defp attempt(provider, request) do
    costs = Profile.costs(provider.profile, estimate(request))

    with {:ok, reservation} <- turn(provider, costs) do
      provider.name
      |> Breaker.run(fn -> post(provider, request) end, failure?: &unhealthy?/1)
      |> settle(provider, reservation)
    end
  end

  defp turn(provider, costs) do
    case Limits.await(provider.name, costs, reserve: true, timeout: provider.patience_ms) do
      {:ok, reservation} -> {:ok, reservation}
      {:error, reason} when reason in [:timeout, :queue_full] -> {:error, :no_quota}
      {:error, reason} -> {:error, reason}
    end
  end

  # A provider that limits us is well.
  defp unhealthy?({:error, {:status, status}}), do: status >= 500
  defp unhealthy?({:error, _reason}), do: true
  defp unhealthy?({:ok, _completion}), do: false

  defp settle({:ok, {:ok, completion}}, provider, reservation) do
    :ok = Limits.commit(reservation, Profile.costs(provider.profile, completion.usage))
    {:ok, completion}
  end

  # It may be answered yet, and counted there.
  defp settle({:ok, {:error, :timeout}}, _provider, reservation) do
    :ok = Limits.commit(reservation)
    {:error, :timeout}
  end

  defp settle({:ok, {:error, reason}}, _provider, reservation) do
    _ = Limits.refund(reservation)
    {:error, reason}
  end

  defp settle({:error, {:open, _details}}, _provider, reservation) do
    _ = Limits.refund(reservation)
    {:error, :breaker_open}
  end

  defp post(provider, request) do
    body = Map.put(request, :model, provider.name)
    result = Pool.with_worker(provider.name, &HttpWorker.post(&1, "/v1/chat/completions", body))

    with {:ok, answer} <- result, {:ok, response} <- answer do
      {:ok, _learnt} = Limits.update_from_headers(provider.name, response.headers, provider.profile)
      read(response, provider)
    end
  end

  defp read(%{status_code: 200, body: body}, provider) do
    case JSON.decode(body) do
      {:ok, %{"choices" => [%{"message" => %{"content" => text}} | _], "usage" => usage}} ->
        usage = %{input_tokens: usage["prompt_tokens"], output_tokens: usage["completion_tokens"]}

        {:ok,
         %{text: text, provider: provider.name, usage: usage, cost: cost(provider, usage), instead_of: []}}

      _other ->
        {:error, :bad_answer}
    end
  end

  defp read(%{status_code: status}, _provider), do: {:error, {:status, status}}
end
