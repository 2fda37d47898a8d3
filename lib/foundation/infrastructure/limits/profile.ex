defmodule Foundation.Infrastructure.Limits.Profile do
  @moduledoc """
  Describes what a provider of language models enforces: dimensions, windows, and what each counts.

  The figures are those of the lowest paid tier of a common model as the providers publish them, a start that
  `update_from_headers/2` corrects with the first response, or `overrides` at once:

      {:ok, profile} = Foundation.Infrastructure.Limits.provider_profile(:openai, requests: 5_000, tokens: 2_000_000)
      :ok = Foundation.Infrastructure.Limits.set_limits({:openai, "gpt"}, profile)
      costs = Foundation.Infrastructure.Limits.Profile.costs(profile, input_tokens: 900, output_tokens: 300)

  | provider | dimension | window | limit | counts |
  |---|---|---|---|---|
  | `:openai` | `:requests` | minute | 500 | calls |
  | | `:requests_per_day` | day, sliding | 10_000 | calls |
  | | `:tokens` | minute | 30_000 | input and the most output asked for |
  | `:anthropic` | `:requests` | minute | 50 | calls |
  | | `:input_tokens` | minute | 30_000 | input that was not read from the cache |
  | | `:output_tokens` | minute | 8_000 | output |
  | `:azure_openai` | `:requests` | 10 s | 10 | calls; six a minute for each 1_000 tokens a minute |
  | | `:tokens` | minute | 10_000 | input and the most output asked for |
  | `:gemini` | `:requests` | minute | 10 | calls |
  | | `:input_tokens` | minute | 250_000 | input |
  | | `:requests_per_day` | day, sliding | 250 | calls; the provider's day ends at midnight Pacific time |

  A profile of one's own is a map or keyword list: `limits:` as for `set_limits/3`, `counts:` (each dimension's list of
  usage names; the dimension's own name unless given), `headers:` (a lower-case header name to `{dimension, :limit}` or
  `{dimension, :remaining}`), `name:`.
  """

  @enforce_keys [:name, :limits]
  defstruct [:name, :limits, counts: %{}, headers: %{}]

  @type t :: %__MODULE__{
          name: atom,
          limits: keyword,
          counts: %{optional(atom) => [atom]},
          headers: %{optional(String.t()) => {atom, :limit | :remaining}}
        }

  @minute 60_000
  @day 86_400_000

  @profiles %{
    openai: %{
      limits: [
        requests: [limit: 500, per: @minute],
        requests_per_day: [limit: 10_000, per: @day, algorithm: :sliding_window],
        tokens: [limit: 30_000, per: @minute]
      ],
      counts: %{requests_per_day: [:requests], tokens: [:input_tokens, :output_tokens]}
    },
    anthropic: %{
      limits: [
        requests: [limit: 50, per: @minute],
        input_tokens: [limit: 30_000, per: @minute],
        output_tokens: [limit: 8_000, per: @minute]
      ],
      counts: %{input_tokens: [:input_tokens, :cache_creation_tokens]}
    },
    azure_openai: %{
      limits: [
        requests: [limit: 10, per: 10_000],
        tokens: [limit: 10_000, per: @minute]
      ],
      counts: %{tokens: [:input_tokens, :output_tokens]}
    },
    gemini: %{
      limits: [
        requests: [limit: 10, per: @minute],
        input_tokens: [limit: 250_000, per: @minute],
        requests_per_day: [limit: 250, per: @day, algorithm: :sliding_window]
      ],
      counts: %{requests_per_day: [:requests]}
    }
  }

  @doc """
  A provider's profile. `overrides` gives a dimension another limit (an amount), another specification (a keyword list, put
  over the one here), or takes it away (nil). Errors: `{:unknown_provider, term}`, `{:invalid_profile, term}`.

      iex> {:ok, profile} = Foundation.Infrastructure.Limits.Profile.new(:anthropic, requests: 1_000)
      iex> profile.limits[:requests]
      [limit: 1_000, per: 60_000]
  """
  @spec new(atom | map | keyword, keyword) :: {:ok, t} | {:error, {atom, term}}
  def new(provider, overrides \\ [])

  def new(provider, overrides) when is_atom(provider) and is_map_key(@profiles, provider) do
    build(Map.put(Map.fetch!(@profiles, provider), :name, provider), overrides)
  end

  def new(own, overrides) when is_map(own) and not is_struct(own), do: build(own, overrides)

  def new([_ | _] = own, overrides),
    do: if(Keyword.keyword?(own), do: build(Map.new(own), overrides), else: bad(own))

  def new(provider, _overrides), do: {:error, {:unknown_provider, provider}}

  @doc """
  What a call costs in the dimensions of a profile: one request, and the sum of the usage each dimension counts.

      iex> {:ok, profile} = Foundation.Infrastructure.Limits.Profile.new(:azure_openai)
      iex> Foundation.Infrastructure.Limits.Profile.costs(profile, input_tokens: 900, output_tokens: 300)
      %{requests: 1, tokens: 1200}
  """
  @spec costs(t, keyword | map) :: %{atom => number}
  def costs(%__MODULE__{limits: limits, counts: counts}, usage) do
    usage = Map.put_new(Map.new(usage), :requests, 1)

    for {name, spec} <- limits, Keyword.has_key?(spec, :per), into: %{} do
      {name, counts |> Map.get(name, [name]) |> Enum.map(&Map.get(usage, &1, 0)) |> Enum.sum()}
    end
  end

  defp build(%{limits: limits} = own, overrides) do
    counts = Map.get(own, :counts, %{})
    headers = Map.get(own, :headers, %{})
    limits = if is_map(limits), do: Map.to_list(limits), else: limits

    if specs?(limits) and Keyword.keyword?(overrides) and is_map(counts) and is_map(headers) do
      name = Map.get(own, :name, :custom)
      limits = Enum.reduce(overrides, limits, &override/2)
      {:ok, %__MODULE__{name: name, limits: limits, counts: counts, headers: headers}}
    else
      bad(own)
    end
  end

  defp build(own, _overrides), do: bad(own)

  defp bad(own), do: {:error, {:invalid_profile, own}}

  defp specs?(limits),
    do: Keyword.keyword?(limits) and Enum.all?(limits, fn {_, s} -> Keyword.keyword?(s) end)

  defp override({name, nil}, limits), do: Keyword.delete(limits, name)

  defp override({name, spec}, limits) when is_list(spec) do
    put(limits, name, Keyword.merge(Keyword.get(limits, name, []), spec))
  end

  defp override({name, limit}, limits) do
    put(limits, name, Keyword.put(Keyword.get(limits, name, per: @minute), :limit, limit))
  end

  # In its place, so that the order stays.
  defp put(limits, name, spec) do
    if Keyword.has_key?(limits, name),
      do: Enum.map(limits, fn {n, s} -> {n, if(n == name, do: spec, else: s)} end),
      else: limits ++ [{name, spec}]
  end
end
