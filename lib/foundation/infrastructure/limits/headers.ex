defmodule Foundation.Infrastructure.Limits.Headers do
  @moduledoc false
  # Reads what response headers say about rate limits. Whatever cannot be read is passed over: a response must never
  # fail for the sake of its headers.

  @type told :: %{
          optional(:limit) => number,
          optional(:remaining) => number,
          optional(:reset_ms) => non_neg_integer
        }

  @subjects %{
    "" => :requests,
    "requests" => :requests,
    "tokens" => :tokens,
    "input-tokens" => :input_tokens,
    "output-tokens" => :output_tokens
  }

  @month ~w(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec) |> Enum.with_index(1) |> Map.new()

  # The longest pause that a provider may ask for: a day.
  @longest 86_400_000

  @doc "Each dimension told of, and `:retry_after_ms` when the provider asks to wait."
  @spec parse(map | [{term, term}], map | nil) :: %{optional(atom) => told | non_neg_integer}
  def parse(headers, profile, now \\ DateTime.utc_now()) do
    own = if profile, do: profile.headers, else: %{}

    headers
    |> pairs()
    |> Enum.reduce(%{}, fn {name, value}, told -> take(own[name] || classify(name), value, told, now) end)
  end

  defp pairs(headers) when is_map(headers) or is_list(headers) do
    for {name, value} <- headers, name = text(name), value = text(value), do: {String.downcase(name), value}
  end

  defp text(value) when is_binary(value), do: if(String.valid?(value), do: String.trim(value))
  defp text(value) when is_atom(value) and value not in [nil, true, false], do: Atom.to_string(value)
  defp text(value) when is_integer(value), do: Integer.to_string(value)
  defp text([value]), do: text(value)

  defp text([_ | _] = value) do
    if List.ascii_printable?(value), do: value |> List.to_string() |> String.trim()
  end

  defp text(_), do: nil

  # {dimension, field} or {:retry_after, unit}
  defp classify("retry-after"), do: {:retry_after, :seconds}
  defp classify("retry-after-ms"), do: {:retry_after, :milliseconds}
  defp classify("x-ratelimit-" <> rest), do: prefixed(rest)
  defp classify("ratelimit-" <> rest), do: prefixed(rest)
  defp classify("anthropic-ratelimit-" <> rest), do: suffixed(rest)
  defp classify(_), do: nil

  defp prefixed(rest) do
    case String.split(rest, "-", parts: 2) do
      [field] -> subject("", field)
      [field, subject] -> subject(subject, field)
    end
  end

  defp suffixed(rest) do
    case rest |> String.split("-") |> Enum.split(-1) do
      {[], _} -> nil
      {subject, [field]} -> subject(Enum.join(subject, "-"), field)
    end
  end

  defp subject(subject, field) do
    with %{^subject => dimension} <- @subjects,
         %{^field => field} <- %{"limit" => :limit, "remaining" => :remaining, "reset" => :reset_ms} do
      {dimension, field}
    else
      _ -> nil
    end
  end

  defp take(nil, _value, told, _now), do: told

  defp take({:retry_after, unit}, value, told, now) do
    case retry_after(unit, value, now) do
      nil -> told
      ms -> Map.update(told, :retry_after_ms, min(ms, @longest), &max(&1, min(ms, @longest)))
    end
  end

  defp take({dimension, :reset_ms}, value, told, now), do: note(told, dimension, :reset_ms, reset(value, now))
  defp take({dimension, field}, value, told, _now), do: note(told, dimension, field, number(value))

  defp note(told, _dimension, _field, nil), do: told

  defp note(told, dimension, field, value),
    do: Map.update(told, dimension, %{field => value}, &Map.put(&1, field, value))

  defp retry_after(:milliseconds, value, _now), do: round_up(number(value))

  defp retry_after(:seconds, value, now) do
    case number(value) do
      nil -> value |> http_date() |> until(now)
      seconds -> round_up(seconds * 1000)
    end
  end

  # A duration ("6m0s", "20ms"), a time (RFC 3339), or seconds.
  defp reset(value, now) do
    with nil <- duration(value), {:error, _} <- DateTime.from_iso8601(value) do
      case number(value) do
        nil -> nil
        # Seconds since the epoch, as some send, or seconds from now.
        n when n > 1_000_000_000 -> max(round_up(n * 1000) - DateTime.to_unix(now, :millisecond), 0)
        n -> round_up(n * 1000)
      end
    else
      {:ok, time, _} -> until(time, now)
      ms -> ms
    end
  end

  defp until(nil, _now), do: nil
  defp until(time, now), do: max(DateTime.diff(time, now, :millisecond), 0)

  defp number(text) do
    case Float.parse(text) do
      {n, ""} when n >= 0 and n <= 1.0e12 -> if n == trunc(n), do: trunc(n), else: n
      _ -> nil
    end
  end

  defp round_up(nil), do: nil
  defp round_up(n) when is_integer(n), do: n
  defp round_up(n), do: n |> Float.ceil() |> trunc()

  @unit %{"h" => 3_600_000, "m" => 60_000, "s" => 1_000, "ms" => 1}

  defp duration(text) do
    if byte_size(text) <= 40 and text =~ ~r/\A(\d+(\.\d+)?(ms|h|m|s))+\z/ do
      ~r/(\d+(?:\.\d+)?)(ms|h|m|s)/
      |> Regex.scan(text, capture: :all_but_first)
      |> Enum.map(fn [n, unit] -> (number(n) || 0) * @unit[unit] end)
      |> Enum.sum()
      |> round_up()
    end
  end

  # "Wed, 21 Oct 2015 07:28:00 GMT"
  defp http_date(text) do
    with [day, month, year, time] <-
           Regex.run(~r/\A\w{3}, (\d{2}) (\w{3}) (\d{4}) (\d{2}:\d{2}:\d{2}) GMT\z/, text,
             capture: :all_but_first
           ),
         %{^month => number} <- @month,
         month = number |> Integer.to_string() |> String.pad_leading(2, "0"),
         {:ok, time, 0} <- DateTime.from_iso8601("#{year}-#{month}-#{day}T#{time}Z") do
      time
    else
      _ -> nil
    end
  end
end
