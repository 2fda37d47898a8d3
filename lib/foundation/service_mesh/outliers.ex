defmodule Foundation.ServiceMesh.Outliers do
  @moduledoc false
  # Sets providers aside that fail here again and again, or more often than the others of their service, and takes them
  # back after a time that grows with each ejection. Tells subscribers; and does, once a second, what the mesh has to do now
  # and then.

  use GenServer

  alias Foundation.Distributed.Discovery
  alias Foundation.Distributed.Discovery.{Directory, Load}
  alias Foundation.ServiceMesh.{Options, Tables}
  alias Foundation.Telemetry

  @tick_ms 1_000
  @samples 20

  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "A provider has failed so many times in a row. O(1); what comes of it is decided by the process."
  @spec failed(Directory.provider(), pos_integer) :: :ok
  def failed({_, _, _, _, service} = provider, in_a_row) do
    # An atom is more than any integer.
    if in_a_row >= Options.of({:service, service}).outlier.consecutive,
      do: GenServer.cast(__MODULE__, {:failing, provider})

    :ok
  end

  @doc "Tells a process of what becomes of a selection's providers."
  @spec subscribe(Directory.selection(), pid) :: :ok | {:error, :not_running}
  def subscribe(selection, pid), do: call({:subscribe, selection, pid})

  @doc "No longer."
  @spec unsubscribe(Directory.selection(), pid) :: :ok | {:error, :not_running}
  def unsubscribe(selection, pid), do: call({:unsubscribe, selection, pid})

  defp call(request) do
    GenServer.call(__MODULE__, request)
  catch
    :exit, {:noproc, _} -> {:error, :not_running}
  end

  @impl true
  def init(nil) do
    Process.send_after(self(), :tick, @tick_ms)
    state = listen(%{directory: nil, subscribers: %{}, swept: %{}})
    # Those of an earlier life of this process.
    {:ok,
     Enum.reduce(Tables.all(:subscriber), state, fn {{pid, selection}, _}, state ->
       add(state, selection, pid)
     end)}
  end

  # To the directory, which may have started again.
  defp listen(state) do
    case Process.whereis(Discovery) do
      pid when pid != nil and pid != state.directory ->
        if Discovery.subscribe() == :ok, do: %{state | directory: pid}, else: state

      _ ->
        state
    end
  catch
    :exit, _ -> state
  end

  @impl true
  def handle_call({:subscribe, selection, pid}, _from, state) do
    Tables.put({:subscriber, {pid, selection}}, true)
    {:reply, :ok, add(state, selection, pid)}
  end

  def handle_call({:unsubscribe, selection, pid}, _from, state) do
    Tables.delete({:subscriber, {pid, selection}})

    subscribers =
      case state.subscribers do
        %{^pid => {monitor, selections}} ->
          rest = MapSet.delete(selections, selection)

          if MapSet.size(rest) == 0 do
            Process.demonitor(monitor, [:flush])
            Map.delete(state.subscribers, pid)
          else
            %{state.subscribers | pid => {monitor, rest}}
          end

        subscribers ->
          subscribers
      end

    {:reply, :ok, %{state | subscribers: subscribers}}
  end

  @impl true
  def handle_cast({:failing, {_, _, _, _, service} = provider}, state) do
    eject(provider, Options.of({:service, service}).outlier, :consecutive, state)
    {:noreply, state}
  end

  @impl true
  def handle_info({:foundation_services_changed, nil, changes}, state) do
    for {event, found} <- changes, do: tell(state, event, found)
    {:noreply, state}
  end

  def handle_info({:return, {id, _, load, _, _} = provider, until}, state) do
    # Unless it has gone, or was set aside again.
    if Directory.provider(nil, id) && Load.aside_until(load) == until do
      Load.take_back(load)
      tell_of(state, :returned, provider)
    end

    {:noreply, state}
  end

  def handle_info(:tick, state) do
    Process.send_after(self(), :tick, @tick_ms)
    state = listen(state)
    Tables.sweep()
    for {{selection, p}, _} <- Tables.all(:hedge), do: refresh(selection, p)
    {:noreply, rates(state)}
  end

  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state) do
    {{_, selections}, subscribers} = Map.pop(state.subscribers, pid, {nil, []})
    for selection <- selections, do: Tables.delete({:subscriber, {pid, selection}})
    {:noreply, %{state | subscribers: subscribers}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp add(state, selection, pid) do
    {monitor, selections} =
      Map.get_lazy(state.subscribers, pid, fn -> {Process.monitor(pid), MapSet.new()} end)

    put_in(state.subscribers[pid], {monitor, MapSet.put(selections, selection)})
  end

  # -- hedging

  defp refresh(selection, p) do
    options = [tags: %{target: selection}, window: :minute]

    with {:ok, %{count: count}} when count >= @samples <-
           Telemetry.summary([:foundation, :mesh, :call_us], options),
         {:ok, %{^p => us}} when is_number(us) <-
           Telemetry.percentiles([:foundation, :mesh, :call_us], [p], options),
         do: Tables.put({:hedge, {selection, p}}, max(ceil(us / 1_000), 1))
  end

  # -- rates of success

  # Each service has an interval of its own, from when it was first seen.
  defp rates(state) do
    now = now()
    services = services()

    due =
      for service <- services,
          at = state.swept[service],
          now - at >= Options.of({:service, service}).outlier.interval_ms * 1_000_000,
          do: service

    for service <- due, do: rates(service, state)

    swept =
      Map.new(services, fn service ->
        {service, if(service in due, do: now, else: state.swept[service] || now)}
      end)

    %{state | swept: swept}
  end

  defp services do
    for(%{service: service} <- Discovery.discover_services(), uniq: true, do: service)
  end

  defp rates(service, state) do
    outlier = Options.of({:service, service}).outlier
    now = now()

    counted =
      for {{_, _, load, _, _} = provider, _found} <- Directory.providers(nil, {:service, service}),
          {ok, failed} = Load.window(load),
          not Load.aside?(load, now) do
        if failed == 0 and Load.view(load, now).ejections > 0, do: Load.ejections(load, -1)
        {provider, ok, ok + failed}
      end

    for provider <- below(counted, outlier), do: eject(provider, outlier, :success_rate, state)
  end

  @doc false
  # Those whose rate of success is so many standard deviations below the mean of those with enough calls.
  def below(counted, outlier) do
    rates = for {provider, ok, all} <- counted, all >= outlier.min_calls, do: {provider, ok / all}

    if length(rates) < outlier.min_providers do
      []
    else
      n = length(rates)
      mean = Enum.sum(for {_, rate} <- rates, do: rate) / n
      variance = Enum.sum(for {_, rate} <- rates, do: (rate - mean) * (rate - mean)) / n
      least = mean - outlier.deviations * :math.sqrt(variance)
      for {provider, rate} <- rates, rate < least, do: provider
    end
  end

  # -- ejection

  defp eject({id, _, load, _, service} = provider, outlier, why, state) do
    providers = Directory.providers(nil, {:service, service})
    now = now()
    aside = Enum.count(providers, fn {{_, _, other, _, _}, _} -> Load.aside?(other, now) end)
    known? = Enum.any?(providers, fn {{other, _, _, _, _}, _} -> other == id end)

    if known? and not Load.aside?(load, now) and (aside + 1) * 100 <= length(providers) * outlier.max_percent do
      ms = min(outlier.base_ms * Load.ejections(load, 1), outlier.max_ms)
      Load.set_aside(load, now + ms * 1_000_000)
      Process.send_after(self(), {:return, provider, Load.aside_until(load)}, ms)
      Telemetry.counter_add([:foundation, :mesh, :ejections], 1, %{service: service, why: why})
      tell_of(state, {:ejected, ms, why}, provider)
    end
  end

  # -- subscribers

  defp tell_of(state, event, provider) do
    if found = Directory.found(nil, provider), do: tell(state, event, found)
  end

  defp tell(state, event, found) do
    for {pid, {_, selections}} <- state.subscribers, selection <- selections, of?(selection, found) do
      send(pid, {:foundation_mesh, selection, event, found})
    end
  end

  defp of?({:service, service}, found), do: found.service === service
  defp of?({:capability, capability}, found), do: capability in found.capabilities

  defp now, do: System.monotonic_time(:nanosecond)
end
