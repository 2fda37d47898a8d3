defmodule Foundation.Infrastructure.Protected.Retry do
  @moduledoc false
  # Tries again after an exponentially growing time, of which a random part is waited ("full jitter", M. Brooker,
  # "Exponential Backoff And Jitter", AWS Architecture Blog, 2015), so that those who failed together do not come back
  # together.

  alias Foundation.Types.Error

  @defaults %{max_attempts: 3, base_ms: 100, max_ms: 5_000, on: nil}

  @spec new(keyword | nil) :: {:ok, map | nil} | {:error, {:invalid_option, atom, term}}
  def new(nil), do: {:ok, nil}

  def new(options) when is_list(options) do
    Enum.reduce_while(options, {:ok, @defaults}, fn
      {name, value}, {:ok, retry} when is_map_key(@defaults, name) ->
        if valid?(name, value),
          do: {:cont, {:ok, %{retry | name => value}}},
          else: {:halt, {:error, {:invalid_option, name, value}}}

      other, _ ->
        {:halt, {:error, {:invalid_option, :retry, other}}}
    end)
  end

  def new(other), do: {:error, {:invalid_option, :retry, other}}

  defp valid?(:on, on), do: is_function(on, 1)
  defp valid?(:max_attempts, n), do: is_integer(n) and n >= 1
  defp valid?(_ms, n), do: is_integer(n) and n >= 0 and n <= 4_294_967_295

  @spec run(map | nil, (() -> result)) :: result when result: {:ok, term} | {:error, term}
  def run(nil, attempt), do: attempt.()
  def run(retry, attempt), do: run(retry, attempt, 1)

  defp run(retry, attempt, n) do
    case attempt.() do
      {:error, reason} = error ->
        if n < retry.max_attempts and again?(retry, reason) do
          wait(delay(retry, n))
          run(retry, attempt, n + 1)
        else
          error
        end

      ok ->
        ok
    end
  end

  @doc "Milliseconds to wait after the failed attempt `n`: evenly spread between 0 and the bound of that attempt."
  @spec delay(map, pos_integer) :: non_neg_integer
  def delay(retry, n) do
    bound = min(retry.max_ms, retry.base_ms * Integer.pow(2, min(n - 1, 30)))
    :rand.uniform(bound + 1) - 1
  end

  defp wait(0), do: :ok

  defp wait(ms) do
    receive do
    after
      ms -> :ok
    end
  end

  defp again?(%{on: nil}, reason), do: transient?(reason)
  defp again?(%{on: on}, reason), do: on.(reason) == true

  # What the function or the way to it did; being refused by a limit or a breaker is not made better by insisting.
  defp transient?(:call_timeout), do: true
  defp transient?(:checkout_timeout), do: true
  defp transient?({:execution_error, _}), do: true
  defp transient?(%Error{error_type: type}), do: type == :protected_operation_failed
  defp transient?(%{__exception__: true}), do: true
  defp transient?(_), do: false
end
