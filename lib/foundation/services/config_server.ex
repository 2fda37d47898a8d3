defmodule Foundation.Services.ConfigServer do
  @moduledoc """
  Owns the configuration: changes it one at a time, tells subscribers, and puts each version where all can read it.

  `Foundation.Config` is the door to it. The module's functions address the server of the production namespace; an
  isolated one, started with `namespace: {:test, ref}`, is reached by `GenServer.call/2` on its pid with the requests
  `:get_config`, `{:get_config_path, path}`, `{:update_config, path, value}`, `:reset_config`, `{:subscribe, pid}`,
  `{:unsubscribe, pid}`, `:get_status` and `:reset_state`, and those of 2.x: `{:subscribe, pid, opts}`,
  `{:register_schema, module}`, `{:validate_and_update, pairs, opts}`, `{:history, opts}`, `{:rollback, version}`. Any
  other request answers `{:error, :unauthorized_access}`.

  Reading in the production namespace asks no process. What a crash keeps: see `Foundation.Config`.
  """

  use GenServer
  require Logger

  alias Foundation.Config.{Change, Conceal, Guard, History, Proposal, Registration, Snapshot}
  alias Foundation.Contracts.Configurable
  alias Foundation.Logic.ConfigLogic
  alias Foundation.ProcessRegistry
  alias Foundation.Services.ConfigServer.Announce
  alias Foundation.Types.{Config, Error}

  @behaviour Configurable

  # A change may wait for subscribers who may veto the one before it.
  @write_timeout Proposal.max_deadline() + 5_000

  @typedoc "What the server counts; times in monotonic milliseconds."
  @type metrics :: %{start_time: integer, updates_count: non_neg_integer, last_update: integer | nil}

  @typedoc "The server's state. `vetoers` maps to deadlines; `waiting` are changes behind the `pending` proposal."
  @type server_state :: %{
          config: Config.t(),
          subscribers: [pid],
          monitors: %{required(reference) => pid},
          metrics: metrics,
          namespace: ProcessRegistry.namespace(),
          schemas: [module],
          history: History.t(),
          vetoers: %{optional(pid) => pos_integer},
          pending: Proposal.t() | nil,
          waiting: [{term, GenServer.from()}]
        }

  # -- api ---------------------------------------------------------------------------------------------------------

  @doc "The whole configuration. Asks no process, copies nothing."
  @impl Configurable
  @spec get() :: {:ok, Config.t()} | {:error, Error.t()}
  def get do
    with :down <- Snapshot.config(), do: not_started()
  end

  @doc "The value at a path. Asks no process, copies nothing."
  @impl Configurable
  @spec get([atom]) :: {:ok, term} | {:error, Error.t()}
  def get(path) when is_list(path) do
    with :down <- Snapshot.fetch(path), do: not_started()
  end

  @doc "Sets the value at an updatable path; see `Foundation.Config.update/2`."
  @impl Configurable
  @spec update([atom], term) :: :ok | {:error, Error.t()}
  def update(path, value) when is_list(path), do: request({:update_config, path, value}, @write_timeout)

  @doc "Says whether a configuration is valid."
  @impl Configurable
  @spec validate(Config.t()) :: :ok | {:error, Error.t()}
  def validate(config) do
    present = Enum.filter(schemas(), &Map.has_key?(config, &1.__config_name__()))
    with {:ok, _} <- Change.validate(config, present), do: :ok
  end

  @doc "The paths that may change while running: the built-in ones, then those of registered schemas."
  @impl Configurable
  @spec updatable_paths() :: [[atom, ...], ...]
  def updatable_paths, do: Change.updatable_paths(schemas())

  @doc "Goes back to the compiled defaults and tells the subscribers."
  @impl Configurable
  @spec reset() :: :ok | {:error, Error.t()}
  def reset, do: request(:reset_config, @write_timeout)

  @doc "Whether the server of the production namespace runs."
  @impl Configurable
  @spec available?() :: boolean
  def available?, do: match?({:ok, _}, ProcessRegistry.lookup(:production, :config_server))

  @doc "Uptime in milliseconds and counts."
  @spec status() :: {:ok, map} | {:error, Error.t()}
  def status, do: request(:get_status)

  @doc """
  Rebuilds the state as at the start and drops the subscribers; only when the application environment `:test_mode` is
  true, else `:operation_forbidden` 5002.
  """
  @spec reset_state() :: :ok | {:error, Error.t()}
  def reset_state do
    if Application.get_env(:foundation, :test_mode, false) do
      request(:reset_state, @write_timeout)
    else
      {:error,
       Error.new(
         code: 5002,
         error_type: :operation_forbidden,
         message: "State reset only allowed in test mode",
         severity: :high,
         category: :security,
         subcategory: :authorization
       )}
    end
  end

  @doc "Starts the production server unless it runs."
  @spec initialize() :: :ok | {:error, Error.t()}
  def initialize, do: initialize([])

  @doc "Starts the production server with the given sections unless it runs; it is linked to the caller then."
  @spec initialize(keyword) :: :ok | {:error, Error.t()}
  def initialize(opts) when is_list(opts) do
    if running?() do
      :ok
    else
      case start_link(Keyword.put(opts, :namespace, :production)) do
        {:ok, _pid} -> :ok
        {:error, {:already_started, _pid}} -> :ok
        {:error, reason} -> unavailable("Failed to start ConfigServer: #{inspect(reason)}")
      end
    end
  rescue
    error in ArgumentError -> unavailable("Failed to start ConfigServer: #{Exception.message(error)}")
  end

  @doc "Starts a server in `opts[:namespace]` (default `:production`); the other options replace whole sections."
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(opts \\ []) do
    namespace = Keyword.get(opts, :namespace, :production)
    name = ProcessRegistry.via_tuple(namespace, :config_server)
    GenServer.start_link(__MODULE__, Keyword.put(opts, :namespace, namespace), name: name)
  end

  @doc "Stops the production server; `:ok` also when there is none."
  @spec stop() :: :ok
  def stop do
    case server() do
      {:ok, pid} -> GenServer.stop(pid)
      :error -> :ok
    end
  end

  @doc "Subscribes a process to changes; a second time changes nothing."
  @spec subscribe(pid) :: :ok | {:error, Error.t()}
  def subscribe(pid \\ self()), do: request({:subscribe, pid})

  @doc "As `subscribe/1`; with `veto: true` the process is asked before changes, see `Foundation.Config.subscribe/1`."
  @spec subscribe(pid, keyword) :: :ok | {:error, Error.t()}
  def subscribe(pid, opts), do: request({:subscribe, pid, opts})

  @doc "Ends a subscription; `:ok` also when there was none."
  @spec unsubscribe(pid) :: :ok | {:error, Error.t()}
  def unsubscribe(pid \\ self()), do: request({:unsubscribe, pid})

  @doc "Adds a section; see `Foundation.Config.register_schema/1`."
  @spec register_schema(module) :: :ok | {:error, Error.t()}
  def register_schema(module), do: request({:register_schema, module}, @write_timeout)

  @doc "Changes several paths or none; see `Foundation.Config.validate_and_update/2`."
  @spec validate_and_update([{list, term}], keyword) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def validate_and_update(pairs, opts), do: request({:validate_and_update, pairs, opts}, :infinity)

  @doc "Goes back to a version; see `Foundation.Config.rollback/1`."
  @spec rollback(non_neg_integer) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def rollback(version), do: request({:rollback, version}, @write_timeout)

  @doc "The last changes, newest first; see `Foundation.Config.history/1`. Asks no process."
  @spec history(keyword) :: {:ok, [map]} | {:error, Error.t()}
  def history(opts) do
    case {Snapshot.config(), Snapshot.kept()} do
      {{:ok, _}, {_, kept}} -> {:ok, History.list(kept.history, kept.schemas, opts)}
      _ -> not_started()
    end
  end

  @doc "The number of changes so far. Asks no process."
  @spec version() :: {:ok, non_neg_integer} | {:error, Error.t()}
  def version do
    case {Snapshot.config(), Snapshot.kept()} do
      {{:ok, _}, {_, kept}} -> {:ok, kept.history.version}
      _ -> not_started()
    end
  end

  # -- server ------------------------------------------------------------------------------------------------------

  @impl GenServer
  @spec init(keyword) :: {:ok, server_state} | {:stop, term}
  def init(opts) do
    {namespace, sections} = Keyword.pop(opts, :namespace, :production)

    case ConfigLogic.build_config(sections) do
      {:ok, config} ->
        {:ok, config |> fresh(namespace) |> recover() |> publish()}

      {:error, error} ->
        Logger.error("Failed to initialize configuration: #{inspect(error)}")
        {:stop, {:config_validation_failed, error}}
    end
  end

  @impl GenServer
  @spec handle_call(term, GenServer.from(), server_state) ::
          {:reply, term, server_state} | {:noreply, server_state}
  def handle_call(:get_config, _from, state), do: {:reply, {:ok, state.config}, state}

  def handle_call({:get_config_path, path}, _from, state),
    do: {:reply, ConfigLogic.get_config_value(state.config, path), state}

  def handle_call({:history, opts}, _from, state) when is_list(opts),
    do: {:reply, {:ok, History.list(state.history, state.schemas, opts)}, state}

  def handle_call({:subscribe, pid}, from, state), do: handle_call({:subscribe, pid, []}, from, state)

  def handle_call({:subscribe, pid, opts}, _from, state) when is_pid(pid) and is_list(opts),
    do: {:reply, :ok, state |> subscribed(pid) |> may_veto(pid, opts)}

  def handle_call({:unsubscribe, pid}, _from, state) do
    {gone, monitors} = Enum.split_with(state.monitors, fn {_ref, subscriber} -> subscriber == pid end)
    Enum.each(gone, fn {ref, _} -> Process.demonitor(ref, [:flush]) end)
    {:reply, :ok, forget(%{state | monitors: Map.new(monitors)}, pid)}
  end

  def handle_call(:get_status, _from, state) do
    {:reply,
     {:ok,
      %{
        status: :running,
        uptime_ms: now() - state.metrics.start_time,
        updates_count: state.metrics.updates_count,
        last_update: state.metrics.last_update,
        subscribers_count: length(state.subscribers)
      }}, state}
  end

  def handle_call(:reset_state, from, state), do: write(:reset_state, from, state)
  def handle_call(:reset_config, from, state), do: write(:reset_config, from, state)
  def handle_call({:register_schema, _} = request, from, state), do: write(request, from, state)
  def handle_call({:rollback, _} = request, from, state), do: write(request, from, state)

  def handle_call({:update_config, path, _} = request, from, state) when is_list(path),
    do: write(request, from, state)

  def handle_call({:validate_and_update, pairs, opts} = request, from, state)
      when is_list(pairs) and is_list(opts),
      do: write(request, from, state)

  def handle_call(request, _from, state) do
    Logger.warning("Unauthorized or invalid request to ConfigServer: #{inspect(request)}")
    {:reply, {:error, :unauthorized_access}, state}
  end

  @impl GenServer
  @spec handle_info(term, server_state) :: {:noreply, server_state}
  def handle_info({:DOWN, ref, :process, pid, _reason}, state),
    do: {:noreply, forget(%{state | monitors: Map.delete(state.monitors, ref)}, pid)}

  def handle_info({:config_vote, ref, pid, answer}, %{pending: %{ref: ref}} = state),
    do: {:noreply, heard(state, pid, answer)}

  # An answer to a proposal that is decided.
  def handle_info({:config_vote, ref, _pid, _answer}, state) when is_reference(ref), do: {:noreply, state}

  def handle_info(message, state) do
    Logger.warning("Unexpected message in ConfigServer: #{inspect(message)}")
    {:noreply, state}
  end

  # -- changes -----------------------------------------------------------------------------------------------------

  # One after another: while a proposal is being decided, the others wait.
  defp write(request, from, %{pending: nil} = state), do: perform(request, from, state)
  defp write(request, from, state), do: {:noreply, %{state | waiting: state.waiting ++ [{request, from}]}}

  defp perform({:update_config, path, value}, from, state) do
    case Change.plan(state.config, state.schemas, [{path, value}]) do
      {:ok, config, changes} -> {:reply, :ok, commit(state, :update, config, changes, from, nil)}
      {:error, _} = error -> {:reply, error, state}
    end
  end

  defp perform({:validate_and_update, pairs, opts}, from, state) do
    case Change.plan(state.config, state.schemas, pairs) do
      {:ok, config, changes} -> propose(state, config, changes, from, opts)
      {:error, _} = error -> {:reply, error, state}
    end
  end

  defp perform({:rollback, version}, from, state) do
    with {:ok, config} <- past(state, version),
         {:ok, config} <- Change.validate(config, state.schemas) do
      case Change.diff(state.config, config) do
        [] ->
          {:reply, {:ok, state.history.version}, state}

        changes ->
          state = commit(state, :rollback, config, changes, from, version)
          {:reply, {:ok, state.history.version}, state}
      end
    else
      {:error, _} = error -> {:reply, error, state}
    end
  end

  defp perform({:register_schema, module}, from, state) do
    case Registration.add(state.config, state.schemas, module) do
      {:ok, config, schemas} ->
        state = %{state | schemas: schemas}

        case Change.diff(state.config, config) do
          [] ->
            {:reply, :ok, publish(state)}

          _ ->
            name = module.__config_name__()

            changes = [
              %{path: [name], old: Map.fetch(state.config, name) |> missing(), new: Map.fetch(config, name)}
            ]

            {:reply, :ok, commit(state, :register_schema, config, changes, from, module)}
        end

      {:error, _} = error ->
        {:reply, error, state}
    end
  end

  defp perform(:reset_config, {actor, _}, state) do
    {:ok, config} = Registration.defaults(ConfigLogic.reset_config(), state.schemas)
    changes = Change.diff(state.config, config)

    state =
      publish(%{state | config: config, history: History.record(state.history, :reset, changes, actor, nil)})

    Announce.notify(state.subscribers, {:config_reset, config})

    count = state.metrics.updates_count
    Announce.store(:config_reset, %{timestamp: now(), reset_from_updates_count: count})
    Announce.count([:foundation, :config_resets], %{reset_from_updates_count: count})
    {:reply, :ok, state}
  end

  defp perform(:reset_state, _from, state) do
    case ConfigLogic.build_config([]) do
      {:ok, config} ->
        Enum.each(state.monitors, fn {ref, _} -> Process.demonitor(ref, [:flush]) end)
        {:reply, :ok, publish(%{fresh(config, state.namespace) | waiting: state.waiting})}

      {:error, _} = error ->
        {:reply, error, state}
    end
  end

  defp past(state, version) do
    case History.at(state.history, state.config, version) do
      {:ok, config} -> {:ok, config}
      :error -> {:error, unknown_version(version, state.history)}
    end
  end

  # Readers see all of the changes or none: there is one snapshot.
  defp commit(state, kind, config, changes, {actor, _tag}, note) do
    metrics = %{state.metrics | updates_count: state.metrics.updates_count + 1, last_update: now()}
    history = History.record(state.history, kind, changes, actor, note)
    state = publish(%{state | config: config, metrics: metrics, history: history})

    for change <- changes,
        do: Announce.notify(state.subscribers, {:config_updated, change.path, value(change.new)})

    for change <- changes do
      Announce.store(:config_updated, %{
        path: change.path,
        new_value: Conceal.value(change.path, value(change.new), state.schemas),
        previous_value: previous(change, state.schemas),
        timestamp: now()
      })

      Announce.count([:foundation, :config_updates], %{path: change.path})
    end

    state
  end

  defp value({:ok, value}), do: value
  defp value(:missing), do: nil

  defp missing({:ok, value}), do: {:ok, value}
  defp missing(:error), do: :missing

  defp previous(%{old: {:ok, old}, path: path}, schemas), do: {:ok, Conceal.value(path, old, schemas)}
  defp previous(%{path: path}, _schemas), do: {:error, ConfigLogic.not_found(path)}

  # -- proposals ---------------------------------------------------------------------------------------------------

  defp propose(state, config, changes, {proposer, _} = from, opts) do
    note = Keyword.get(opts, :note)
    voters = Map.delete(state.vetoers, proposer)

    if voters == %{} do
      state = commit(state, :update, config, changes, from, note)
      {:reply, {:ok, state.history.version}, state}
    else
      ref = make_ref()
      shown = Enum.map(changes, &%{path: &1.path, old: value(&1.old), new: value(&1.new)})

      for {pid, deadline} <- voters do
        send(pid, {:config_proposal, {self(), ref}, shown})
        wait = min(deadline, Keyword.get(opts, :deadline, deadline))
        Process.send_after(self(), {:config_vote, ref, pid, :silent}, wait)
      end

      proposal = %Proposal{
        ref: ref,
        from: from,
        config: config,
        changes: changes,
        voters: MapSet.new(Map.keys(voters)),
        on_silence: Keyword.get(opts, :on_silence, :accept),
        note: note
      }

      {:noreply, %{state | pending: proposal}}
    end
  end

  defp heard(%{pending: nil} = state, _pid, _answer), do: state

  defp heard(state, pid, answer) do
    case Proposal.hear(state.pending, pid, answer) do
      {:waiting, proposal} -> %{state | pending: proposal}
      {:agreed, proposal} -> state |> agreed(proposal) |> resume()
      {{:vetoed, by, reason}, proposal} -> state |> vetoed(proposal, by, reason) |> resume()
    end
  end

  defp agreed(state, proposal) do
    state =
      commit(
        %{state | pending: nil},
        :update,
        proposal.config,
        proposal.changes,
        proposal.from,
        proposal.note
      )

    GenServer.reply(proposal.from, {:ok, state.history.version})
    state
  end

  defp vetoed(state, proposal, by, reason) do
    for {pid, _} <- state.vetoers, pid != by, {elem(proposal.from, 0)} != {pid} do
      send(pid, {:config_proposal_dropped, {self(), proposal.ref}, reason})
    end

    GenServer.reply(proposal.from, {:error, Proposal.vetoed(proposal, by, reason)})
    %{state | pending: nil}
  end

  # Lets the changes that waited have their turn, up to the next one that has to wait itself.
  defp resume(%{pending: nil, waiting: [{request, from} | rest]} = state) do
    case perform(request, from, %{state | waiting: rest}) do
      {:reply, reply, state} ->
        GenServer.reply(from, reply)
        resume(state)

      {:noreply, state} ->
        resume(state)
    end
  end

  defp resume(state), do: state

  # -- subscribers -------------------------------------------------------------------------------------------------

  defp subscribed(state, pid) do
    if pid in state.subscribers do
      state
    else
      monitors = Map.put(state.monitors, Process.monitor(pid), pid)
      %{state | subscribers: [pid | state.subscribers], monitors: monitors}
    end
  end

  defp may_veto(state, pid, opts) do
    case Keyword.fetch(opts, :veto) do
      {:ok, true} -> %{state | vetoers: Map.put(state.vetoers, pid, Keyword.get(opts, :deadline, 1_000))}
      {:ok, false} -> %{state | vetoers: Map.delete(state.vetoers, pid)}
      :error -> state
    end
  end

  # Who is gone, or no longer subscribed, has no say in what is being decided.
  defp forget(state, pid) do
    heard(
      %{
        state
        | subscribers: List.delete(state.subscribers, pid),
          vetoers: Map.delete(state.vetoers, pid)
      },
      pid,
      :gone
    )
  end

  # -- state -------------------------------------------------------------------------------------------------------

  defp fresh(config, namespace) do
    %{
      config: config,
      subscribers: [],
      monitors: %{},
      namespace: namespace,
      metrics: %{start_time: now(), updates_count: 0, last_update: nil},
      schemas: [],
      history: History.new(),
      vetoers: %{},
      pending: nil,
      waiting: []
    }
  end

  # After a crash the values are built anew, as they may be what it crashed of; schemas and history are still there, so
  # that a rollback brings back what was in force.
  defp recover(%{namespace: :production} = state) do
    case Snapshot.kept() do
      nil ->
        state

      {last, kept} ->
        {config, schemas} = Registration.again(state.config, kept.schemas)

        history =
          case Change.diff(last, config) do
            [] -> kept.history
            changes -> History.record(kept.history, :restart, changes, self(), nil)
          end

        %{state | config: config, schemas: schemas, history: history}
    end
  end

  defp recover(state), do: state

  defp publish(%{namespace: :production, config: config} = state) do
    kept = %{schemas: state.schemas, history: state.history}
    Snapshot.put(self(), config, Guard.sealed?(config), kept)
    state
  end

  defp publish(state), do: state

  defp unknown_version(version, history) do
    Error.new(
      error_type: :config_version_not_found,
      message: "Configuration version #{inspect(version)} is not in the history",
      context: %{version: version, current: history.version, kept: length(history.entries)},
      severity: :medium,
      category: :config,
      subcategory: :access
    )
  end

  defp now, do: System.monotonic_time(:millisecond)

  # -- callers -----------------------------------------------------------------------------------------------------

  defp request(message, timeout \\ 5_000) do
    case server() do
      {:ok, pid} -> GenServer.call(pid, message, timeout)
      :error -> not_started()
    end
  catch
    # It went between the lookup and the call.
    :exit, {:noproc, _} -> not_started()
  end

  defp running?, do: match?({:ok, _}, server())

  defp schemas do
    case Snapshot.kept() do
      {_config, %{schemas: schemas}} -> schemas
      nil -> []
    end
  end

  defp server do
    ProcessRegistry.lookup(:production, :config_server)
  rescue
    # The registry itself is down: the application does not run.
    ArgumentError -> :error
  end

  defp not_started, do: unavailable("Configuration service not started")

  defp unavailable(message) do
    {:error,
     Error.new(
       code: 5000,
       error_type: :service_unavailable,
       message: message,
       severity: :high,
       category: :system,
       subcategory: :initialization
     )}
  end
end
