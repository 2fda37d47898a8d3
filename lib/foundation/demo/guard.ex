defmodule Foundation.Demo.Guard do
  @moduledoc false
  # What stands between the demo and its parsers: a limit over two dimensions, a breaker, a pool of workers.

  alias Foundation.Demo.{Format, Parser}
  alias Foundation.Infrastructure
  alias Foundation.Infrastructure.{CircuitBreaker, ConnectionManager}

  @pool :foundation_demo_parsers
  @breaker :foundation_demo_parsing
  @key {:foundation_demo, :parsing}

  # Files and bytes a second, and how much of them at once. A machine of two cores comes near these.
  @files [limit: 300, per: 1_000, burst: 60]
  @bytes [limit: 8_000_000, per: 1_000, burst: 2_000_000]
  @parse_timeout 30_000
  @wait 60_000

  # `:error` is about the file, `:refused` about the moment: such a file is tried again by the next run.
  @type outcome :: {:ok, map} | {:error, String.t()} | {:refused, String.t()}
  @type wait :: nil | {atom, non_neg_integer}

  @doc "Sets the limits, closes the breaker and starts as many parsers as there are schedulers."
  @spec start() :: :ok | {:error, term}
  def start do
    config = [size: workers(), max_overflow: 0, worker_module: Parser, worker_args: []]

    with :ok <- Infrastructure.set_limits(@key, [files: @files, bytes: @bytes], []),
         :ok <-
           CircuitBreaker.start_fuse_instance(@breaker, strategy: :standard, tolerance: 5, refresh: 5_000),
         {:ok, _pool} <- ConnectionManager.start_pool(@pool, config) do
      :ok
    end
  end

  @doc "Ends the pool."
  @spec stop() :: :ok
  def stop do
    _ = ConnectionManager.stop_pool(@pool)
    :ok
  end

  @doc "How many files are worth having under way."
  @spec concurrency() :: pos_integer
  def concurrency, do: workers() + 1

  defp workers, do: System.schedulers_online()

  @doc "Facts of the file, the microseconds they took, and whether the limiter made the caller wait and why."
  @spec read(Foundation.Demo.Sources.file()) :: {outcome, non_neg_integer, wait}
  def read(file) do
    # A file larger than the bucket would never pass: it costs the whole of it.
    cost = %{files: 1, bytes: min(file.bytes, @bytes[:burst])}

    case admit(cost) do
      {:ok, wait} ->
        {outcome, took} = protected(file.path)
        {outcome, took, wait}

      {:error, reason} ->
        {{:refused, "not admitted: #{inspect(reason)}"}, 0, nil}
    end
  end

  @doc "The node, and what `read/1` says there."
  @spec read_here(Foundation.Demo.Sources.file()) :: {node, {outcome, non_neg_integer, wait}}
  def read_here(file), do: {node(), read(file)}

  defp admit(cost) do
    case Infrastructure.acquire(@key, cost) do
      :ok -> {:ok, nil}
      {:error, {:limited, %{dimension: dimension}}} -> wait(cost, dimension)
      {:error, _} = error -> error
    end
  end

  defp wait(cost, dimension) do
    {took, answer} = :timer.tc(fn -> Infrastructure.await(@key, cost, timeout: @wait) end)
    with :ok <- answer, do: {:ok, {dimension, took}}
  end

  defp protected(path) do
    case CircuitBreaker.execute(@breaker, fn -> in_pool(path) end) do
      {:ok, {outcome, took}} -> {outcome, took}
      {:error, error} -> {{:refused, error.message}, 0}
    end
  end

  # An unreadable file is an answer. A worker that dies or hangs is a failure, and the breaker counts it.
  defp in_pool(path) do
    read = fn worker -> Parser.facts(worker, path, @parse_timeout) end

    case ConnectionManager.with_connection(@pool, read, @parse_timeout + 5_000) do
      {:ok, answer} -> answer
      {:error, reason} -> raise "no parser answered: #{inspect(reason)}"
    end
  end

  @doc "What was set and what it came to."
  @spec describe([wait], non_neg_integer, pos_integer) :: map
  def describe(waits, files, nodes \\ 1) do
    waits = Enum.reject(waits, &is_nil/1)
    limited = Enum.frequencies_by(waits, &elem(&1, 0))
    times = Enum.map(waits, &elem(&1, 1))

    %{
      settings: [
        {"Limit",
         "#{@files[:limit]} files and #{div(@bytes[:limit], 1_000_000)} MB a second, both or none#{each(nodes)}"},
        {"Pool", "#{workers()} parsers#{each(nodes)}"}
      ],
      figures: [
        {"Admitted", "#{Format.count(files)} files"},
        {"Made to wait", "#{Format.count(length(waits))} files#{because(limited)}"},
        {"Time waited",
         "#{Format.time(Enum.sum(times))} together, #{Format.time(Enum.max([0 | times]))} at most"},
        {"Breaker", breaker()}
      ],
      limited: limited
    }
  end

  defp each(1), do: ""
  defp each(nodes), do: ", on each of #{nodes} nodes"

  defp because(limited) when limited == %{}, do: ""

  defp because(limited) do
    " (" <>
      Enum.map_join(limited, ", ", fn {dimension, n} -> "#{Format.count(n)} #{why(dimension)}" end) <> ")"
  end

  @doc "What a file that was limited by this waited for. Nobody overtakes those who wait already."
  @spec why(atom) :: String.t()
  def why(:queue), do: "behind others"
  def why(dimension), do: "for #{dimension}"

  defp breaker do
    case CircuitBreaker.get_status(@breaker) do
      :ok -> "closed"
      :blown -> "open"
      {:error, _not_found} -> "not needed"
    end
  end
end
