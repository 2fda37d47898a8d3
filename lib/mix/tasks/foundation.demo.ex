defmodule Mix.Tasks.Foundation.Demo do
  @shortdoc "Analyses the BEAM files of this machine with Foundation"

  @moduledoc """
  Analyses the BEAM files of the installed Erlang/OTP and Elixir with Foundation's own services.

      mix foundation.demo [--limit N] [--path GLOB] [--out DIR] [--nodes N] [--no-kill] [--no-market] [--quiet]

  - `--limit N` reads at most N files
  - `--path GLOB` reads other BEAM files, as `--path "_build/dev/lib/*/ebin/*.beam"`
  - `--out DIR` keeps the event store and the report there (`_build/demo`)
  - `--nodes N` works on N nodes, this one and others that it starts and that find each other (3)
  - `--no-kill` leaves them all alive; else, with three or more, one is killed half-way, and another in the market
  - `--no-market` leaves out the market, in which agents bid for closer studies of the modules
  - `--quiet` shows no progress

  Prints what it found and writes `report.html`. A second run recovers the event store and reads only what has
  changed. Stopping it at any moment, by Ctrl-C or `kill -9`, leaves a store that opens: events are on the disk before
  the run goes on.
  """

  use Mix.Task

  alias Foundation.Demo

  @requirements ["app.config"]
  @switches [
    limit: :integer,
    path: :string,
    out: :string,
    quiet: :boolean,
    nodes: :integer,
    kill: :boolean,
    market: :boolean
  ]

  @impl true
  def run(arguments) do
    options = parse(arguments)
    # Log lines would tear the bar.
    Logger.configure(level: :warning)
    options = Keyword.put(options, :recovery_us, open(options[:out]))

    case Demo.run(options) do
      {:ok, %{summary: %{modules: 0}, failed: []}} -> Mix.raise("no BEAM file found")
      {:ok, result} -> IO.write(Demo.Console.render(result))
      {:error, reason} -> Mix.raise("the demo stopped: #{explain(reason)}")
    end
  end

  defp open(out) do
    case Demo.open(out) do
      {:ok, took} -> took
      {:error, reason} -> Mix.raise("the event store in #{out} does not open: #{explain(reason)}")
    end
  end

  # What the event store said, out of what the application controller made of it.
  defp explain({:foundation, {{:shutdown, {:failed_to_start_child, _child, {:event_store, {_, text}}}}, _}})
       when is_binary(text),
       do: text

  defp explain(%Foundation.Types.Error{message: text}), do: text
  defp explain(reason) when is_binary(reason), do: reason
  defp explain(reason), do: inspect(reason)

  defp parse(arguments) do
    case OptionParser.parse(arguments, strict: @switches) do
      {options, [], []} -> Keyword.merge([out: "_build/demo", nodes: 3], options) |> check()
      {_, [unknown | _], _} -> Mix.raise("unknown argument #{inspect(unknown)}; see mix help foundation.demo")
      {_, _, [{name, _} | _]} -> Mix.raise("unknown or invalid option #{name}; see mix help foundation.demo")
    end
  end

  defp check(options) do
    for name <- [:limit, :nodes],
        Keyword.get(options, name, 1) < 1,
        do: Mix.raise("--#{name} must be at least 1")

    options
  end
end
