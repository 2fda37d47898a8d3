defmodule Foundation.Distributed.Context.Carrier do
  @moduledoc false
  # A context as it travels: the user's values and the identity of the trace as W3C Trace Context has it
  # (https://www.w3.org/TR/trace-context/). Ids are binaries here and hexadecimal outside.

  @enforce_keys [:trace_id, :span_id, :flags, :values]
  defstruct [:trace_id, :span_id, :flags, :values, tracestate: nil, debug: nil]

  @type t :: %__MODULE__{
          trace_id: <<_::128>>,
          span_id: <<_::64>>,
          flags: 0..255,
          values: map,
          tracestate: String.t() | nil,
          debug: map | nil
        }

  # What a tracestate may hold (512 characters must be kept; we keep what is within them).
  @max_tracestate 512

  @doc "A trace of its own, sampled."
  @spec new(map) :: t
  def new(values) do
    <<trace::binary-size(16), span::binary-size(8)>> = :crypto.strong_rand_bytes(24)
    %__MODULE__{trace_id: trace, span_id: span, flags: 1, values: values}
  end

  @doc "A new span of the same trace, with these values over the ones it has."
  @spec child(t, map) :: t
  def child(carrier, values) do
    %{carrier | span_id: span_id(), values: Map.merge(carrier.values, values), debug: nil}
  end

  # Unique within the trace is all a span id has to be, and it must not be zero.
  defp span_id, do: <<:rand.uniform(0xFFFFFFFFFFFFFFFF)::64>>

  @doc "What is sent along; in debug mode with the place it was taken at."
  @spec departing(t, boolean) :: t
  def departing(carrier, false), do: %{carrier | debug: nil}

  def departing(carrier, true) do
    {:current_stacktrace, frames} = Process.info(self(), :current_stacktrace)

    at =
      frames
      |> Enum.drop_while(fn {module, _, _, _} -> module == Process or ours?(module) end)
      |> Enum.take(3)
      |> Enum.map(&Exception.format_stacktrace_entry/1)

    %{carrier | debug: %{from: node(), pid: self(), at: at}}
  end

  defp ours?(module),
    do:
      String.starts_with?(Atom.to_string(module), "Elixir.Foundation.Distributed.Context.") or
        module == Foundation.Distributed.Context

  @doc "Checks what came in."
  @spec arriving(term) :: {:ok, t} | {:error, :invalid_context}
  def arriving(
        %__MODULE__{trace_id: <<trace::128>>, span_id: <<span::64>>, flags: flags, values: values} = carrier
      )
      when trace != 0 and span != 0 and flags in 0..255 and is_map(values) and
             (is_nil(carrier.tracestate) or is_binary(carrier.tracestate)) and
             (is_nil(carrier.debug) or is_map(carrier.debug)),
      do: {:ok, carrier}

  def arriving(_term), do: {:error, :invalid_context}

  @doc "`traceparent`, and `tracestate` where there is one."
  @spec to_headers(t) :: [{String.t(), String.t()}]
  def to_headers(carrier) do
    parent = "00-#{hex(carrier.trace_id)}-#{hex(carrier.span_id)}-#{hex(<<carrier.flags>>)}"
    state = if carrier.tracestate, do: [{"tracestate", carrier.tracestate}], else: []
    [{"traceparent", parent} | state]
  end

  @doc "The trace that the headers of a request continue."
  @spec from_headers(Enumerable.t(), map) :: {:ok, t} | {:error, :no_traceparent | :invalid_traceparent}
  def from_headers(headers, values) do
    headers = for {name, value} <- headers, do: {String.downcase(to_string(name)), to_string(value)}

    case for({"traceparent", value} <- headers, do: value) do
      [parent] -> parse(String.trim(parent), tracestate(headers), values)
      _none_or_several -> {:error, :no_traceparent}
    end
  end

  defp parse(
         <<version::binary-size(2), ?-, trace::binary-size(32), ?-, span::binary-size(16), ?-,
           flags::binary-size(2), rest::binary>>,
         state,
         values
       ) do
    with {:ok, version} when version != <<255>> <- unhex_lower(version),
         true <- rest == "" or (version != <<0>> and String.starts_with?(rest, "-")),
         {:ok, <<id::128>> = trace} when id != 0 <- unhex_lower(trace),
         {:ok, <<number::64>> = span} when number != 0 <- unhex_lower(span),
         {:ok, <<flags>>} <- unhex_lower(flags) do
      {:ok, %__MODULE__{trace_id: trace, span_id: span, flags: flags, tracestate: state, values: values}}
    else
      _ -> {:error, :invalid_traceparent}
    end
  end

  defp parse(_other, _state, _values), do: {:error, :invalid_traceparent}

  # Several tracestate headers are one list. Members at its end go first when it is too long.
  defp tracestate(headers) do
    members =
      for({"tracestate", value} <- headers, do: value)
      |> Enum.flat_map(&String.split(&1, ","))
      |> Enum.map(&String.trim/1)
      |> Enum.filter(&(&1 =~ ~r/\A[a-z0-9][a-z0-9_\-*\/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{1,256}\z/))
      |> Enum.uniq_by(&hd(String.split(&1, "=", parts: 2)))
      |> Enum.take(32)

    case within(members, 0, []) do
      [] -> nil
      kept -> Enum.join(kept, ",")
    end
  end

  defp within([member | rest], size, kept) when size + byte_size(member) < @max_tracestate,
    do: within(rest, size + byte_size(member) + 1, [member | kept])

  defp within(_rest, _size, kept), do: Enum.reverse(kept)

  @spec hex(binary) :: String.t()
  def hex(bytes), do: Base.encode16(bytes, case: :lower)

  @doc "The 16 bytes of a trace id."
  @spec unhex(term) :: {:ok, <<_::128>>} | {:error, :invalid_trace_id}
  def unhex(text) when is_binary(text) and byte_size(text) == 32 do
    with :error <- Base.decode16(text, case: :mixed), do: {:error, :invalid_trace_id}
  end

  def unhex(_text), do: {:error, :invalid_trace_id}

  # The standard has lower case only.
  defp unhex_lower(text), do: Base.decode16(text, case: :lower)
end
