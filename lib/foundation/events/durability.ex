defmodule Foundation.Events.Durability do
  @moduledoc false
  # Reads `config :foundation, :events` and opens the log it names.

  alias Foundation.Native
  require Logger

  @enforce_keys [:path]
  defstruct [:path, sync: :always, segment_bytes: 64 * 1024 * 1024, retention: []]

  @type t :: %__MODULE__{
          path: String.t(),
          sync: :always | :os | {:interval, pos_integer},
          segment_bytes: pos_integer,
          retention: keyword
        }

  @options [:path, :sync, :segment_bytes, :retention]
  @bounds [:max_events, :max_age_ms, :max_bytes]

  @doc "What the application is configured to; nil for a store in memory."
  @spec configured() :: {:ok, t | nil} | {:error, {:invalid_config, String.t()}}
  def configured, do: parse(Application.get_env(:foundation, :events, []))

  @doc "Checks a configuration."
  @spec parse(term) :: {:ok, t | nil} | {:error, {:invalid_config, String.t()}}
  def parse(config) when is_map(config), do: config |> Map.to_list() |> parse()

  def parse(config) when is_list(config) do
    cond do
      not Keyword.keyword?(config) -> bad("expected options, got: #{inspect(config)}")
      config[:path] in [nil, ""] and Keyword.keys(config) -- @options == [] -> {:ok, nil}
      (unknown = Keyword.keys(config) -- @options) != [] -> bad("there is no option #{inspect(hd(unknown))}")
      not path?(config[:path]) -> bad("path: is a directory, got: #{inspect(config[:path])}")
      true -> config |> Keyword.update!(:path, &to_string/1) |> rest()
    end
  end

  def parse(config), do: bad("expected options, got: #{inspect(config)}")

  defp rest(config) do
    durability = struct(__MODULE__, config)

    cond do
      not sync?(durability.sync) ->
        bad("sync: is :always, {:interval, ms} or :os, got: #{inspect(durability.sync)}")

      not (is_integer(durability.segment_bytes) and durability.segment_bytes in 4096..0x1_0000_0000) ->
        bad("segment_bytes: is from 4096 to 4294967296, got: #{inspect(durability.segment_bytes)}")

      not retention?(durability.retention) ->
        bad(
          "retention: has #{inspect(@bounds)}, each a positive number, got: #{inspect(durability.retention)}"
        )

      true ->
        {:ok, durability}
    end
  end

  @doc "Opens the log; nil for a store in memory, else the recovery report."
  @spec open(reference, t | nil) :: {:ok, map | nil} | {:error, term}
  def open(_handle, nil), do: {:ok, nil}

  def open(handle, %__MODULE__{} = durability) do
    key = {__MODULE__, :recovery}

    case Native.events_open(handle, durability.path, durability.sync, durability.segment_bytes) do
      {:error, reason} ->
        {:error, reason}

      # The service restarted and the log stayed open: the report is the one of its opening.
      nil ->
        {:ok, :persistent_term.get(key, %{})}

      report ->
        :persistent_term.put(key, report)
        log(durability.path, report)
        {:ok, report}
    end
  end

  @doc "A failure to open, in words."
  @spec explain(term) :: String.t()
  def explain({kind, text}) when is_atom(kind) and is_binary(text), do: text
  def explain(reason), do: inspect(reason)

  defp log(path, report) do
    Logger.info(
      "Event store: #{report.events} events recovered from #{path} in #{report.took_ms} ms " <>
        "(#{report.segments} segments, #{report.bytes} bytes)"
    )

    if report.torn_bytes > 0,
      do: Logger.warning("Event store: an unfinished write of #{report.torn_bytes} bytes was cut off")

    for damage <- report.damage, do: Logger.error("Event store: damage, #{damage}")

    if report.unreadable > 0,
      do: Logger.error("Event store: #{report.unreadable} records are not readable by this version")
  end

  defp path?(path), do: is_binary(path) or (is_list(path) and path != [] and List.ascii_printable?(path))
  defp sync?({:interval, ms}), do: is_integer(ms) and ms in 1..3_600_000
  defp sync?(sync), do: sync in [:always, :os]

  defp retention?(retention) when is_list(retention) do
    Keyword.keyword?(retention) and Keyword.keys(retention) -- @bounds == [] and
      Enum.all?(Keyword.values(retention), &(is_nil(&1) or (is_integer(&1) and &1 > 0)))
  end

  defp retention?(_), do: false

  defp bad(text), do: {:error, {:invalid_config, "config :foundation, :events: " <> text}}
end
