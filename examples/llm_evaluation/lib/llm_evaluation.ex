defmodule LlmEvaluation do
  @moduledoc """
  Evaluates a program of one language model call over thousands of questions, with two providers that are local servers.

  The program, its signature and the evaluation have the shape that DSPEx gives them; limits, retries, breakers, pools, money
  and results are Foundation's.
  """

  alias Foundation.MABEAM.Economics
  alias Foundation.Telemetry

  alias LlmEvaluation.{
    Budget,
    Client,
    Dataset,
    Evaluate,
    Predict,
    Progress,
    Provider,
    ProviderServer,
    Signature
  }

  @connections 48

  # Good and dear, with an outage; and cheap, quick, and not so good.
  @servers [
    atlas: %{
      requests: 150,
      tokens: 15_000,
      latency_ms: 20..60,
      errors: 100,
      slow: 20,
      slow_ms: 1_500,
      wrong: 200,
      outage: 1_000..1_120
    },
    birch: %{
      requests: 400,
      tokens: 40_000,
      latency_ms: 5..20,
      errors: 50,
      slow: 5,
      slow_ms: 1_500,
      wrong: 1_500,
      outage: 0..0
    }
  ]

  @providers [
    atlas: [price: %{input: 2_500, output: 10_000}, patience_ms: 250, attempts: 3],
    birch: [price: %{input: 150, output: 600}, patience_ms: 10_000, attempts: 5]
  ]

  @type option ::
          {:items, pos_integer}
          | {:budget, String.t()}
          | {:seed, integer}
          | {:concurrency, pos_integer}

  @doc """
  Options: `items:` 10,000, `budget:` of all runs together as decimal text ("5"), `seed:` 1 of questions and servers,
  `concurrency:` 48 questions at a time.
  """
  @spec run([option]) :: map
  def run(options \\ []) do
    seed = Keyword.get(options, :seed, 1)
    Telemetry.forget([:llm_evaluation, :attempt])
    servers = for {name, settings} <- @servers, do: {name, serve(name, seed, settings)}
    providers = for {name, server} <- servers, do: provider(name, server)

    try do
      options
      |> evaluate(seed, providers)
      |> Map.put(
        :answered,
        Map.new(servers, fn {name, server} -> {name, ProviderServer.answered(server)} end)
      )
    after
      Enum.each(providers, &Provider.stop/1)
      for {_name, server} <- servers, do: GenServer.stop(server)
    end
  end

  defp serve(name, seed, settings) do
    {:ok, server} = settings |> Map.merge(%{name: name, seed: seed}) |> ProviderServer.start_link()
    server
  end

  defp provider(name, server),
    do: Provider.start(name, ProviderServer.url(server), [connections: @connections] ++ @providers[name])

  defp evaluate(options, seed, providers) do
    items = Keyword.get(options, :items, 10_000)
    total = options |> Keyword.get(:budget, "5") |> Economics.units()
    name = "arithmetic #{seed}"
    budget = name |> Progress.results() |> spent() |> then(&Budget.open(total, &1))
    signature = Signature.new("question -> answer", "Answer with the number alone.")

    summary =
      Evaluate.run(
        %Predict{signature: signature, client: %Client{providers: providers, budget: budget}},
        Dataset.arithmetic(items, seed),
        &(&2 == &1.expected),
        name: name,
        concurrency: Keyword.get(options, :concurrency, @connections),
        stop_on: [:budget_spent]
      )

    {:ok, audit} = Economics.audit()

    Map.merge(summary, %{
      items: items,
      results: Progress.results(name),
      budget: total,
      left: Budget.left(budget),
      audit: audit,
      providers: Enum.map(providers, & &1.name)
    })
  end

  defp spent(results) do
    Enum.reduce(results, %{}, fn result, spent ->
      Map.update(spent, result.provider, result.cost, &(&1 + result.cost))
    end)
  end
end
