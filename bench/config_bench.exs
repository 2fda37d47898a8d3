Code.require_file("support.exs", __DIR__)

defmodule Foundation.ConfigBench do
  @moduledoc false
  # Reading a value against asking a process for it, at paths of several lengths; the price of a change; a
  # step.

  alias Foundation.{Bench, Config, ErrorContext}

  defmodule Holder do
    @moduledoc false
    use GenServer
    def init(config), do: {:ok, config}
    def handle_call({:get, path}, _from, config), do: {:reply, {:ok, get_in(config, path)}, config}
  end

  def run do
    {:ok, config} = Config.get()
    {:ok, holder} = GenServer.start_link(Holder, config)
    path = [:ai, :provider]
    {:ok, provider} = Config.get(path)
    {:ok, ^provider} = GenServer.call(holder, {:get, path})

    IO.puts("config")
    read(holder, path, "Config.get([:ai, :provider])", at_least: 20)
    read(holder, path, "the same, 2 processes", processes: 2)

    read(
      holder,
      [:infrastructure, :rate_limiting, :default_rules, :api_calls, :limit],
      "a path of five parts",
      []
    )

    missing()
    changes()
    steps()
  end

  defp read(holder, path, name, opts) do
    Bench.compare(
      name,
      [
        ours: fn _ -> {:ok, _} = Config.get(path) end,
        theirs: fn _ -> {:ok, _} = GenServer.call(holder, {:get, path}) end,
        iterations: 300_000,
        their_iterations: 20_000
      ] ++ opts
    )
  end

  defp missing do
    ns = Bench.run(fn _ -> {:error, _} = Config.get([:ai, :no_such_key]) end, 50_000)
    Bench.figure("a path that leads nowhere, checked", Bench.nanoseconds(ns))
  end

  defp changes do
    before = Config.version()

    ns =
      Bench.run(
        fn i -> {:ok, _} = Config.validate_and_update([{[:interface, :max_results], rem(i, 1000) + 1}]) end,
        500
      )

    Bench.figure("validate_and_update, one path, history full", Bench.nanoseconds(ns))
    {:ok, was} = before
    {:ok, now} = Config.version()
    true = now == was + 500
    :ok = Config.reset()
  end

  defp steps do
    context = ErrorContext.new(__MODULE__, :steps)

    ns =
      Bench.run(
        fn i ->
          if rem(i, 900) == 0, do: Process.put(:context, ErrorContext.new(__MODULE__, :steps))

          ErrorContext.step(Process.get(:context, context), {:add, %{a: i, b: 2}}, fn %{a: a, b: b} ->
            a + b
          end)
        end,
        50_000
      )

    Bench.figure("ErrorContext.step with input and output", Bench.nanoseconds(ns))
  end
end

Foundation.ConfigBench.run()
