defmodule Foundation.Demo.Parser do
  @moduledoc false
  # A worker of the demo's pool: parses one BEAM file at a time in a process of its own.

  use GenServer

  alias Foundation.Demo.BeamFacts

  def start_link(args), do: GenServer.start_link(__MODULE__, args)

  @doc "Facts of the file and the microseconds reading them took. Exits when it takes longer than `timeout` ms."
  def facts(worker, path, timeout), do: GenServer.call(worker, {:facts, path}, timeout)

  @impl true
  def init(_args), do: {:ok, nil}

  @impl true
  def handle_call({:facts, path}, _from, state) do
    started = System.monotonic_time()

    answer =
      try do
        BeamFacts.read(path)
      rescue
        # Chunks may be whole and their content still nonsense.
        error -> {:error, Exception.message(error)}
      catch
        kind, reason -> {:error, Exception.format_banner(kind, reason)}
      end

    took = System.convert_time_unit(System.monotonic_time() - started, :native, :microsecond)
    # A file makes much garbage once; the worker waits for the next one without it.
    {:reply, {answer, took}, state, :hibernate}
  end
end
