defmodule Foundation.MABEAM.Agent.Server do
  @moduledoc false
  # The process of an agent: one request after the other, each with a reply, whatever the module does. It holds little, and
  # hibernates when nobody asks, so that an idle agent costs hardly more than the process.

  use GenServer, restart: :temporary

  alias Foundation.Distributed.Context
  alias Foundation.MABEAM.Agent.{Account, Callbacks, Gate}
  alias Foundation.MABEAM.AgentRegistry.{Placement, Table}
  alias Foundation.MABEAM.Comms.{Delivery, Seen}
  alias Foundation.Telemetry

  @hibernate_after 2_000

  defstruct [:id, :module, :type, :state, :gate, :totals, :most, :every, :placement, failures: 0, done: 0]

  @doc false
  def start_link({_spec, _gate, _totals, _snapshot} = start),
    do: GenServer.start_link(__MODULE__, start, hibernate_after: @hibernate_after)

  # The module's own init comes with the registry's word, so that nobody else waits for it, and the registry is watching.
  @impl true
  def init({spec, gate, totals, snapshot}) do
    Process.flag(:trap_exit, true)
    Account.open(spec.id, totals, spec.resources)

    agent = %__MODULE__{
      state: {:unborn, spec.args, snapshot},
      id: spec.id,
      module: spec.module,
      type: spec.type,
      gate: gate,
      totals: totals,
      most: spec.max_failures,
      every: spec.snapshot_every,
      placement: spec.placement
    }

    {:ok, agent}
  end

  @impl true
  def handle_info({:mabeam_begin, registry}, %{state: {:unborn, args, snapshot}} = agent) do
    agent = %{agent | state: nil}
    _ = Code.ensure_loaded(agent.module)
    began = Gate.begin(agent.gate)
    result = Callbacks.begin(agent.module, args, snapshot)
    Gate.finish(agent.gate, agent.totals, began, if(match?({:ok, _}, result), do: :handled, else: :failed))

    case result do
      {:ok, state} ->
        send(registry, {:agent_ready, agent.id, self()})
        {:noreply, %{agent | state: state}}

      {:error, reason} ->
        {:stop, {:shutdown, {:init, reason}}, agent}
    end
  end

  def handle_info({:tell, event, meta}, agent) do
    Gate.leave(agent.gate)
    {_answer, agent} = ask(:event, event, meta, agent)
    agent |> kept_in_time() |> settled()
  end

  def handle_info({:mabeam_stop, reason}, agent), do: {:stop, reason, agent}

  def handle_info({:mabeam_snapshot, from}, agent) do
    GenServer.reply(from, keep(agent))
    {:noreply, agent}
  end

  # All that was sent before has been done by now.
  def handle_info(:mabeam_drained, agent) do
    keep(agent)
    {:stop, {:shutdown, :drained}, agent}
  end

  # As if exits were not trapped, so that terminate/2 runs.
  def handle_info({:EXIT, _pid, :normal}, agent), do: {:noreply, agent}
  def handle_info({:EXIT, _pid, reason}, agent), do: {:stop, reason, agent}
  def handle_info(_other, agent), do: {:noreply, agent}

  @impl true
  def handle_call({:ask, kind, payload, meta}, from, agent) do
    Gate.leave(agent.gate)
    {answer, agent} = ask(kind, payload, meta, agent)
    # Before the answer, so that what was answered is in the snapshot.
    agent = kept_in_time(agent)
    Delivery.reply(from, answer)
    settled(agent)
  end

  def handle_call(_other, _from, agent), do: {:reply, {:error, :unknown_request}, agent}

  @impl true
  def handle_cast(_other, agent), do: {:noreply, agent}

  @impl true
  def terminate(_reason, %{state: nil}), do: :ok
  def terminate(_reason, %{state: {:unborn, _args, _snapshot}}), do: :ok

  def terminate(reason, agent) do
    Gate.begin(agent.gate)
    Callbacks.terminate(agent.module, reason, agent.state)
  end

  # -- one request ----------------------------------------------------------------------------------------------------

  defp ask(kind, payload, {deadline, correlation, chain, carrier}, agent) do
    cond do
      Gate.closed?(agent.gate) -> {error(:stopping), agent}
      past?(deadline) -> {error(:expired), agent}
      correlation == nil -> run(kind, payload, deadline, chain, carrier, agent)
      true -> once({agent.id, correlation}, kind, payload, {deadline, chain, carrier}, agent)
    end
  end

  defp once(key, kind, payload, {deadline, chain, carrier}, agent) do
    case Seen.answer(key) do
      {:ok, answer} ->
        {answer, agent}

      :new ->
        {answer, agent} = run(kind, payload, deadline, chain, carrier, agent)
        Seen.keep(key, answer)
        {answer, agent}

      {:error, reason} ->
        {error(reason), agent}
    end
  end

  defp run(kind, payload, deadline, chain, carrier, agent) do
    if carrier == nil, do: Context.clear(), else: Context.attach(carrier, {:agent, agent.id})
    Account.begin(deadline, chain)
    began = Gate.begin(agent.gate)
    result = Callbacks.run(agent.module, kind, payload, agent.state)
    cost = Account.finish()

    case result do
      {:ok, reply, state} ->
        measured(agent, kind, Gate.finish(agent.gate, agent.totals, began, :handled))
        {{:answer, reply, cost}, %{agent | state: state, failures: 0, done: agent.done + 1}}

      {:error, {:not_supported, _} = reason} ->
        Gate.finish(agent.gate, agent.totals, began, :handled)
        {{:answer, {:error, reason}, cost}, agent}

      {:error, reason} ->
        Gate.finish(agent.gate, agent.totals, began, :failed)
        failed(agent, kind, reason)
        {{:answer, {:error, reason}, cost}, %{agent | failures: agent.failures + 1}}
    end
  end

  defp settled(%{failures: failures, most: most} = agent) when failures >= most,
    do: {:stop, {:shutdown, {:callbacks_failed, failures}}, agent}

  defp settled(agent), do: {:noreply, agent}

  defp kept_in_time(%{every: every, done: done} = agent) when is_integer(every) and done >= every do
    keep(agent)
    %{agent | done: 0}
  end

  defp kept_in_time(agent), do: agent

  defp keep(agent) do
    began = Gate.begin(agent.gate)
    result = Callbacks.snapshot(agent.module, agent.state)
    how = if match?({:error, _}, result), do: :failed, else: :handled
    Gate.finish(agent.gate, agent.totals, began, how)

    case result do
      {:ok, kept} -> kept(agent, kept)
      :none -> {:error, :no_snapshot}
      error -> error
    end
  end

  defp kept(%{placement: :node, id: id}, kept), do: Table.keep_snapshot(id, kept)

  defp kept(%{id: id}, kept) do
    Table.keep_snapshot(id, kept)
    Placement.share(id, kept)
  end

  defp error(reason), do: {:answer, {:error, reason}, nil}

  defp past?(:infinity), do: false
  defp past?(deadline), do: System.monotonic_time(:millisecond) > deadline

  defp measured(agent, kind, us),
    do: Foundation.MABEAM.Telemetry.callback(kind, agent.type, us)

  defp failed(agent, kind, reason) do
    metadata = %{agent: agent.id, kind: kind, reason: reason}
    Telemetry.execute([:foundation, :mabeam, :agent, :callback_failed], %{counter: 1}, metadata)
  end
end
