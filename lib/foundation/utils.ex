defmodule Foundation.Utils do
  @moduledoc """
  Makes ids, reads clocks, cuts large terms down, and holds the small things that several services need.
  """

  import Bitwise, only: [&&&: 2, |||: 2]

  @truncate_bytes 10_000
  @inspect_limit 100
  @preview_items 10
  @preview_pairs 5

  # -- ids and clocks ----------------------------------------------------------------------------------------------

  @doc """
  A positive integer that this VM gives out once. Later ids are not always larger. O(1).

      iex> Foundation.Utils.generate_id() != Foundation.Utils.generate_id()
      true
  """
  @spec generate_id() :: pos_integer
  def generate_id do
    System.unique_integer([:positive]) * 1_000_000 + :erlang.phash2(make_ref(), 1_000_000)
  end

  @doc """
  A random UUID (version 4), 36 characters. O(1).

      iex> Foundation.Utils.generate_correlation_id() =~ ~r/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
      true
  """
  @spec generate_correlation_id() :: String.t()
  def generate_correlation_id do
    <<a::32, b::16, c::16, d::16, e::48>> = :crypto.strong_rand_bytes(16)
    version = (c &&& 0x0FFF) ||| 0x4000
    variant = (d &&& 0x3FFF) ||| 0x8000
    hex = Base.encode16(<<a::32, b::16, version::16, variant::16, e::48>>, case: :lower)

    <<a::binary-size(8), b::binary-size(4), c::binary-size(4), d::binary-size(4), e::binary>> = hex
    IO.iodata_to_binary([a, ?-, b, ?-, c, ?-, d, ?-, e])
  end

  @doc """
  The monotonic clock in milliseconds. O(1).

      iex> a = Foundation.Utils.monotonic_timestamp()
      iex> Foundation.Utils.monotonic_timestamp() >= a
      true
  """
  @spec monotonic_timestamp() :: integer
  def monotonic_timestamp, do: System.monotonic_time(:millisecond)

  @doc """
  The calendar's clock in nanoseconds since 1970. O(1).

      iex> Foundation.Utils.wall_timestamp() > 1_600_000_000_000_000_000
      true
  """
  @spec wall_timestamp() :: integer
  def wall_timestamp, do: System.system_time(:nanosecond)

  # -- sizes and text ----------------------------------------------------------------------------------------------

  @doc """
  A term of at most 10,000 bytes as it is, a larger one as `truncate_if_large/2` makes it. O(size).

      iex> Foundation.Utils.truncate_if_large([1, 2, 3])
      [1, 2, 3]
      iex> Foundation.Utils.truncate_if_large(String.duplicate("x", 20_000)).truncated
      true
  """
  @spec truncate_if_large(term) :: term
  def truncate_if_large(term), do: truncate_if_large(term, @truncate_bytes)

  @doc """
  The term itself when its external form has at most `max_size` bytes, else a map of `truncated: true`,
  `original_size` in bytes, a short `preview` and a `timestamp`. O(size).

      iex> Foundation.Utils.truncate_if_large("short", 100)
      "short"
      iex> Foundation.Utils.truncate_if_large(String.duplicate("x", 2_000), 1_000).original_size
      2006
  """
  @spec truncate_if_large(term, pos_integer) :: term
  def truncate_if_large(term, max_size) do
    case deep_size(term) do
      size when size > max_size ->
        %{truncated: true, original_size: size, preview: preview(term), timestamp: DateTime.utc_now()}

      _ ->
        term
    end
  end

  defp preview(text) when is_binary(text) do
    if String.valid?(text), do: String.slice(text, 0, 100) <> "...", else: safe_inspect(text)
  end

  defp preview(list) when is_list(list), do: list |> take_proper(@preview_items) |> Enum.map(&safe_inspect/1)
  defp preview(%_{} = struct), do: safe_inspect(struct)
  defp preview(map) when is_map(map), do: map |> Enum.take(@preview_pairs) |> Map.new()
  defp preview(other), do: safe_inspect(other)

  defp take_proper([head | tail], n) when n > 0, do: [head | take_proper(tail, n - 1)]
  defp take_proper(_, _), do: []

  @doc """
  The bytes of a term's external form. O(size).

      iex> Foundation.Utils.deep_size("abc")
      9
  """
  @spec deep_size(term) :: non_neg_integer
  def deep_size(term), do: :erlang.external_size(term)

  @doc """
  The term as text, at most 100 items of a collection and 100 characters of a string; `"<uninspectable>"` when its
  own `Inspect` fails. O(items shown).

      iex> Foundation.Utils.safe_inspect(%{key: "value"})
      ~s(%{key: "value"})
  """
  @spec safe_inspect(term) :: String.t()
  def safe_inspect(term) do
    inspect(term, limit: @inspect_limit, printable_limit: @inspect_limit)
  rescue
    _ -> "<uninspectable>"
  end

  @doc """
  The text on one line: runs of white space become one space, those at the ends go. O(length).

      iex> Foundation.Utils.sanitize_string("  hello\\n\\tworld ")
      "hello world"
  """
  @spec sanitize_string(String.t()) :: String.t()
  def sanitize_string(text) when is_binary(text) do
    text |> String.replace(~r/\s+/, " ") |> String.trim()
  end

  @doc """
  Nanoseconds as text, in the largest unit that gives at least one.

      iex> Enum.map([2_500_000_000, 1_500_000, 1_500, 500], &Foundation.Utils.format_duration/1)
      ["2.5s", "1.5ms", "1.5μs", "500ns"]
  """
  @spec format_duration(non_neg_integer) :: String.t()
  def format_duration(ns) when is_integer(ns) and ns >= 1_000_000_000, do: decimal(ns / 1_000_000_000) <> "s"
  def format_duration(ns) when is_integer(ns) and ns >= 1_000_000, do: decimal(ns / 1_000_000) <> "ms"
  def format_duration(ns) when is_integer(ns) and ns >= 1_000, do: decimal(ns / 1_000) <> "μs"
  def format_duration(ns) when is_integer(ns) and ns >= 0, do: "#{ns}ns"

  @doc """
  Bytes as text, in the largest unit that gives at least one; 1 KB is 1024 bytes.

      iex> Enum.map([512, 1_536, 1_048_576, 1_073_741_824], &Foundation.Utils.format_bytes/1)
      ["512 B", "1.5 KB", "1.0 MB", "1.0 GB"]
  """
  @spec format_bytes(non_neg_integer) :: String.t()
  def format_bytes(bytes) when is_integer(bytes) and bytes >= 0 do
    cond do
      bytes < 1_024 -> "#{bytes} B"
      bytes < 1_048_576 -> decimal(bytes / 1_024) <> " KB"
      bytes < 1_073_741_824 -> decimal(bytes / 1_048_576) <> " MB"
      true -> decimal(bytes / 1_073_741_824) <> " GB"
    end
  end

  defp decimal(number), do: :erlang.float_to_binary(number, decimals: 1)

  # -- maps --------------------------------------------------------------------------------------------------------

  @doc """
  Merges the second map into the first, maps within maps too; otherwise the second wins. O(pairs).

      iex> Foundation.Utils.deep_merge(%{a: %{b: 1}, c: 2}, %{a: %{d: 3}, c: 4})
      %{a: %{b: 1, d: 3}, c: 4}
  """
  @spec deep_merge(map, map) :: map
  def deep_merge(left, right) when is_map(left) and is_map(right) do
    Map.merge(left, right, fn _key, a, b -> deep_merge(a, b) end)
  end

  def deep_merge(_left, right), do: right

  @doc """
  The value at a path of keys, or the default where there is none or it is nil; false is kept. O(length of the path).

      iex> Foundation.Utils.get_nested(%{a: %{b: false}}, [:a, :b], 7)
      false
      iex> Foundation.Utils.get_nested(%{a: nil}, [:a, :b], 7)
      7
  """
  @spec get_nested(map, [atom], term) :: term
  def get_nested(map, path, default \\ nil)
  def get_nested(value, [], _default), do: value

  def get_nested(map, [key | rest], default) when is_map(map) do
    case Map.get(map, key) do
      nil -> default
      value -> get_nested(value, rest, default)
    end
  end

  def get_nested(_other, _path, default), do: default

  @doc """
  Puts a value at a path of keys and makes the maps on the way. O(length of the path).

      iex> Foundation.Utils.put_nested(%{a: %{x: 1}}, [:a, :b, :c], 42)
      %{a: %{x: 1, b: %{c: 42}}}
  """
  @spec put_nested(map, [atom], term) :: map
  def put_nested(_map, [], value), do: value

  def put_nested(map, [key | rest], value) when is_map(map) do
    Map.put(map, key, put_nested(put_into(map, key, rest), rest, value))
  end

  defp put_into(_map, _key, []), do: %{}
  defp put_into(map, key, _rest), do: Map.get(map, key, %{})

  @doc """
  Makes atoms of string keys, at any depth, where the atom exists already; other keys stay. O(pairs).

      iex> Foundation.Utils.atomize_keys(%{"key" => [%{"no atom of this name" => 1}]})
      %{key: [%{"no atom of this name" => 1}]}
  """
  @spec atomize_keys(map) :: map
  def atomize_keys(term), do: map_keys(term, &existing_atom/1)

  defp existing_atom(key) when is_binary(key) do
    String.to_existing_atom(key)
  rescue
    ArgumentError -> key
  end

  defp existing_atom(key), do: key

  @doc """
  Makes strings of atom keys, at any depth. O(pairs).

      iex> Foundation.Utils.stringify_keys(%{key: %{nested: "value"}})
      %{"key" => %{"nested" => "value"}}
  """
  @spec stringify_keys(map) :: map
  def stringify_keys(term) do
    map_keys(term, fn key -> if is_atom(key), do: Atom.to_string(key), else: key end)
  end

  defp map_keys(%_{} = struct, _fun), do: struct
  defp map_keys(map, fun) when is_map(map), do: Map.new(map, fn {k, v} -> {fun.(k), map_keys(v, fun)} end)
  defp map_keys([head | tail], fun), do: [map_keys(head, fun) | map_keys(tail, fun)]
  defp map_keys(other, _fun), do: other

  # -- predicates --------------------------------------------------------------------------------------------------

  @doc """
  Whether there is nothing in it: nil, white space, an empty list or map.

      iex> Enum.map([nil, "  ", [], %{}, 0, false], &Foundation.Utils.blank?/1)
      [true, true, true, true, false, false]
  """
  @spec blank?(term) :: boolean
  def blank?(nil), do: true
  def blank?([]), do: true
  def blank?(text) when is_binary(text), do: String.trim(text) == ""
  def blank?(map) when is_map(map), do: map_size(map) == 0
  def blank?(_other), do: false

  @doc """
  The opposite of `blank?/1`.

      iex> Foundation.Utils.present?("hello")
      true
  """
  @spec present?(term) :: boolean
  def present?(term), do: not blank?(term)

  @doc """
  Whether it is an integer above 0.

      iex> Enum.map([1, 0, -1, 1.0, "1"], &Foundation.Utils.valid_positive_integer?/1)
      [true, false, false, false, false]
  """
  @spec valid_positive_integer?(term) :: boolean
  def valid_positive_integer?(term), do: is_integer(term) and term > 0

  # -- running and measuring ---------------------------------------------------------------------------------------

  @doc """
  Calls a function until it does not return `{:error, _}`, with a pause that doubles each time.

  Options: `:max_attempts` (3), `:base_delay` (100 ms), `:max_delay` (5000 ms). `{:ok, value}` comes back as it is, anything
  else that is no error as `{:ok, it}`; after the last attempt `{:error, :max_attempts_exceeded}`.

      iex> Foundation.Utils.retry(fn -> :ok end)
      {:ok, :ok}
      iex> Foundation.Utils.retry(fn -> {:error, :busy} end, max_attempts: 2, base_delay: 1)
      {:error, :max_attempts_exceeded}
  """
  @spec retry((() -> any), Keyword.t()) :: {:error, :max_attempts_exceeded} | {:ok, any}
  def retry(fun, opts \\ []) when is_function(fun, 0) do
    attempts = Keyword.get(opts, :max_attempts, 3)
    attempt(fun, attempts, Keyword.get(opts, :base_delay, 100), Keyword.get(opts, :max_delay, 5_000))
  end

  defp attempt(fun, left, delay, max_delay) do
    case fun.() do
      {:ok, value} ->
        {:ok, value}

      {:error, _} when left > 1 ->
        delay |> min(max_delay) |> round() |> Process.sleep()
        attempt(fun, left - 1, delay * 2, max_delay)

      {:error, _} ->
        {:error, :max_attempts_exceeded}

      other ->
        {:ok, other}
    end
  end

  @doc """
  A function's result and how long it took, in microseconds.

      iex> {:done, us} = Foundation.Utils.measure(fn -> :done end)
      iex> us >= 0
      true
  """
  @spec measure((() -> result)) :: {result, non_neg_integer} when result: any
  def measure(fun) when is_function(fun, 0) do
    started = System.monotonic_time(:microsecond)
    result = fun.()
    {result, System.monotonic_time(:microsecond) - started}
  end

  @doc """
  A function's result, and the VM's total memory before, after, and the difference, in bytes. The caller's garbage is
  collected before each reading.

      iex> {:done, {before, later, difference}} = Foundation.Utils.measure_memory(fn -> :done end)
      iex> difference == later - before
      true
  """
  @spec measure_memory((() -> result)) :: {result, {non_neg_integer, non_neg_integer, integer}}
        when result: any
  def measure_memory(fun) when is_function(fun, 0) do
    before = collected_memory()
    result = fun.()
    later = collected_memory()
    {result, {before, later, later - before}}
  end

  defp collected_memory do
    :erlang.garbage_collect()
    :erlang.memory(:total)
  end

  @doc """
  The caller's memory in bytes, queue length, reductions, garbage collection settings and status. O(messages waiting).

      iex> Foundation.Utils.process_stats().status
      :running
  """
  @spec process_stats() :: %{
          garbage_collection: any,
          memory: any,
          message_queue_len: any,
          reductions: any,
          status: any
        }
  def process_stats do
    self()
    |> Process.info([:memory, :message_queue_len, :reductions, :garbage_collection, :status])
    |> Map.new()
  end

  @doc """
  The VM's processes, atoms, memory (bytes by kind) and schedulers.

      iex> Foundation.Utils.system_stats().scheduler_online == System.schedulers_online()
      true
  """
  @spec system_stats() :: %{
          atom_count: any,
          memory: [
            {:atom
             | :atom_used
             | :binary
             | :code
             | :ets
             | :processes
             | :processes_used
             | :system
             | :total, non_neg_integer},
            ...
          ],
          process_count: non_neg_integer,
          scheduler_count: pos_integer,
          scheduler_online: pos_integer
        }
  def system_stats do
    %{
      process_count: :erlang.system_info(:process_count),
      atom_count: :erlang.system_info(:atom_count),
      memory: :erlang.memory(),
      scheduler_count: :erlang.system_info(:schedulers),
      scheduler_online: :erlang.system_info(:schedulers_online)
    }
  end
end
