defmodule Foundation.Distributed.Partitions do
  @moduledoc """
  Notices that the cluster has split, decides which side works on, and brings the sides together again.

      config :foundation, cluster: true, partitions: [policy: :majority]

  Members that are lost without a goodbye are either dead or on the other side of a split; from here nobody can tell. When
  they have been lost for `confirm_after` ms, the policy decides whether this side is `:active` or `:paused`, and every
  subscriber is told. What is above asks `active?/0` before it does what only one side may do. A paused side is read only:
  what changes something of the whole cluster (`Foundation.Config.set_cluster_wide/3`, for one) asks `writable/1` first and
  is refused with `{:error, :minority}`; reading goes on.

  | policy | the side that works on |
  |---|---|
  | `:majority` | more than half of all; of two halves the one with the node whose name sorts first |
  | `:quorum` | at least `quorum:` members |
  | `:oldest` | that of the member that has run longest |
  | `:referee` | that of the node `referee:` |
  | `:none` | each |

  While members are lost, connecting to them is tried again and again. Those who come back are told of as healed. On a
  side that works on, a node that stays away for `forget_after` ms is no longer counted; a paused side forgets
  nobody. A member that says goodbye, or is given up by all strategies, is not lost.

  ## Messages

  `subscribe/0` sends `{:foundation_partition, %{event: event, state: state, reason: reason, here: nodes, lost: nodes}}`:
  the present state as `:present`, then `:split`, `:changed` (more were lost, or some came back), `:healed`, `:forgotten`.
  Each is also the telemetry event `[:foundation, :partition, event]` with the measurements `here` and `lost`.

  In a cluster that the node has joined besides (see `Foundation.Distributed.Clusters`) its entry has the option
  `:partitions`, and what is lost is what its overlay takes for dead; every function takes the option `:cluster`, and is
  about the main cluster without it. Messages of a joined cluster have its name under `:cluster`.

  No function here calls the native library, but for a joined cluster, whose members are asked for on a dirty CPU scheduler.
  """

  use GenServer

  alias Foundation.Distributed.Fabric.Scope
  alias Foundation.Distributed.Partitions.{Lost, Policy, Source}
  alias Foundation.Telemetry

  require Logger

  @state_key :foundation_partition_state
  @policies [:majority, :quorum, :oldest, :referee, :none]

  # {option, default}; all in ms.
  @times [confirm_after: 1_000, forget_after: 3_600_000]

  @type state :: :active | :paused
  @type status :: %{
          state: state,
          reason: term,
          policy: Policy.t(),
          here: [node],
          lost: [node]
        }

  @doc false
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(opts), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [opts]}}

  @doc """
  Starts it, as `config :foundation, partitions: opts` does with the application.

  Options: `policy:` (`:majority`), `quorum:` a number of members, `referee:` a node, `confirm_after:` (1,000 ms),
  `forget_after:` (an hour, in ms), `action:` a function that is called with the new status on each change, in a
  process of its own.

  Errors: `{:invalid_config, %{key: key, value: value, expected: text}}`; `{:already_started, pid}`.
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(opts \\ []) do
    {scope, opts} = if Keyword.keyword?(opts), do: Scope.pop(opts), else: {nil, opts}

    with {:ok, config} <- read(opts),
         do: GenServer.start_link(__MODULE__, {scope, config}, name: Scope.process(scope, __MODULE__))
  end

  @doc "Whether this side works on: `true` also while nothing is decided, and where this does not run. O(1), no message."
  @spec active?() :: boolean
  def active?, do: :persistent_term.get(@state_key, :active) == :active

  @doc "As `active?/0`, of the option `:cluster`. O(1), no message."
  @spec active?(keyword) :: boolean
  def active?(options), do: :persistent_term.get(key(Scope.of(options[:cluster])), :active) == :active

  @doc """
  Whether this side may change what belongs to the whole cluster: false on a paused side, which is to be read only. Options:
  `:cluster`. O(1), no message.
  """
  @spec writable?(keyword) :: boolean
  def writable?(options \\ []), do: active?(options)

  @doc "As `writable?/1`, for a chain of steps: `:ok` or `{:error, :minority}`."
  @spec writable(keyword) :: :ok | {:error, :minority}
  def writable(options \\ []), do: if(writable?(options), do: :ok, else: {:error, :minority})

  defp key(nil), do: @state_key
  defp key(scope), do: {@state_key, scope}

  @doc "How things stand. Errors: `:not_running`."
  @spec status(keyword) :: {:ok, status} | {:error, :not_running}
  def status(options \\ []), do: ask(:status, options)

  @doc """
  Sends the caller what changes from now on, and first how things stand. Ends with the process. Errors: `:not_running`.
  """
  @spec subscribe(keyword) :: :ok | {:error, :not_running}
  def subscribe(options \\ []), do: ask({:subscribe, self()}, options)

  @doc "No longer counts a lost node: someone knows that it is dead. Errors: `:not_lost`, `:not_running`."
  @spec forget(node, keyword) :: :ok | {:error, :not_lost | :not_running}
  def forget(node, options \\ []) when is_atom(node), do: ask({:forget, node}, options)

  # -- the process -------------------------------------------------------------------------------------------------

  @impl true
  def init({scope, config}) do
    Process.flag(:trap_exit, true)

    state = %{
      scope: scope,
      config: config,
      lost: Lost.new(),
      boots: %{},
      verdict: {:active, :whole},
      subscribers: %{},
      cluster: nil
    }

    {:ok, join(state)}
  end

  @impl true
  def handle_call(:status, _from, state), do: {:reply, {:ok, standing(state)}, state}

  def handle_call({:subscribe, pid}, _from, state) do
    reference = state.subscribers[pid] || Process.monitor(pid)
    send(pid, message(:present, state))
    {:reply, :ok, put_in(state.subscribers[pid], reference)}
  end

  def handle_call({:forget, node}, _from, state) do
    if Lost.member?(state.lost, node),
      do: {:reply, :ok, forgotten(state, [node])},
      else: {:reply, {:error, :not_lost}, state}
  end

  @impl true
  def handle_info({:foundation_cluster, event}, state), do: {:noreply, heard(state, event)}

  def handle_info({:foundation_member, event, node}, state) do
    case Source.event(event, node) do
      nil -> {:noreply, state}
      event -> {:noreply, heard(state, event)}
    end
  end

  def handle_info(:join, state), do: {:noreply, join(state)}

  def handle_info({:confirm, node, since}, state) do
    if Lost.unconfirmed?(state.lost, node, since),
      do: {:noreply, confirmed(state, node)},
      else: {:noreply, state}
  end

  def handle_info({:forget, node, since}, state) do
    cond do
      not Lost.since?(state.lost, node, since) -> {:noreply, state}
      match?({:active, _}, state.verdict) -> {:noreply, forgotten(state, [node])}
      true -> {:noreply, watch(state, {:forget, node, since}, :forget_after)}
    end
  end

  # The cluster was stopped, or its membership starts again.
  def handle_info({:DOWN, reference, :process, _pid, _reason}, %{cluster: reference} = state) do
    Process.send_after(self(), :join, 100)
    {:noreply, %{state | cluster: nil}}
  end

  def handle_info({:DOWN, _reference, :process, pid, _reason}, state),
    do: {:noreply, %{state | subscribers: Map.delete(state.subscribers, pid)}}

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    for {node, _} <- state.lost, do: Source.keep_trying(state.scope, node, false)
    :persistent_term.erase(key(state.scope))
  end

  defp join(state) do
    case Source.watch(state.scope) do
      {:ok, reference} ->
        known(%{state | cluster: reference})

      :later ->
        Process.send_after(self(), :join, 500)
        state
    end
  end

  # -- what the cluster says ---------------------------------------------------------------------------------------

  defp heard(state, %{event: :unreachable, node: node}) do
    state = known(state)
    Source.keep_trying(state.scope, node, true)
    {lost, since} = Lost.add(state.lost, node, Source.boot(state.scope, node) || state.boots[node])
    watch(%{state | lost: lost}, {:confirm, node, since}, :confirm_after)
  end

  defp heard(state, %{event: event, node: node}) when event in [:joined, :reachable],
    do: state |> known() |> back(node)

  # It is not coming back, and that is as it should be.
  defp heard(state, %{event: :left, node: node, reason: {kind, _}}) when kind in [:goodbye, :given_up],
    do: back(state, node)

  defp heard(state, _event), do: state

  # What is gone a moment later can be asked no more.
  defp known(state), do: %{state | boots: Source.boots(state.scope, state.boots)}

  defp back(state, node) do
    if Lost.member?(state.lost, node) do
      counted? = node in Lost.counted(state.lost)
      state = removed(state, [node])

      if counted?,
        do: decide(state, if(Lost.counted(state.lost) == [], do: :healed, else: :changed)),
        else: state
    else
      state
    end
  end

  defp confirmed(state, node) do
    first? = Lost.counted(state.lost) == []
    {lost, since} = Lost.confirm(state.lost, node)

    %{state | lost: lost}
    |> watch({:forget, node, since}, :forget_after)
    |> decide(if first?, do: :split, else: :changed)
  end

  defp forgotten(state, nodes) do
    state = removed(state, nodes)
    decide(%{state | boots: Map.drop(state.boots, nodes)}, :forgotten)
  end

  defp removed(state, nodes) do
    for node <- nodes, do: Source.keep_trying(state.scope, node, false)
    %{state | lost: Enum.reduce(nodes, state.lost, &Lost.remove(&2, &1))}
  end

  defp decide(state, event) do
    {verdict, reason} = Policy.decide(state.config.policy, view(state))
    if {verdict, :any} != {elem(state.verdict, 0), :any}, do: :persistent_term.put(key(state.scope), verdict)
    state = %{state | verdict: {verdict, reason}}
    tell(event, state)
    state
  end

  defp view(state) do
    here = Source.nodes(state.scope)
    boots = Lost.boots(state.lost, Source.boots(state.scope, state.boots))
    %{here: here, lost: Lost.counted(state.lost) -- here, boots: boots}
  end

  # -- telling -----------------------------------------------------------------------------------------------------

  defp tell(event, state) do
    status = standing(state)
    lost = Enum.join(status.lost, ", ")

    Logger.warning(
      "[partitions#{if state.scope, do: ":#{state.scope}"}] #{event}: this side is #{status.state} (#{inspect(status.reason)}); lost: #{lost}"
    )

    for {pid, _} <- state.subscribers, do: send(pid, message(event, state))
    if state.config.action, do: spawn(fn -> state.config.action.(status) end)

    Telemetry.execute(
      [:foundation, :partition, event],
      %{here: length(status.here), lost: length(status.lost)},
      status
      |> Map.take([:state, :reason])
      |> Map.merge(if(state.scope, do: %{cluster: state.scope}, else: %{}))
    )
  end

  defp message(event, state) do
    news = state |> standing() |> Map.put(:event, event)
    {:foundation_partition, if(state.scope, do: Map.put(news, :cluster, state.scope), else: news)}
  end

  defp standing(%{verdict: {verdict, reason}} = state) do
    %{here: here, lost: lost} = view(state)
    %{state: verdict, reason: reason, policy: state.config.policy, here: here, lost: lost}
  end

  defp watch(state, message, time) do
    Process.send_after(self(), message, Map.fetch!(state.config, time))
    state
  end

  defp ask(request, options) do
    GenServer.call(Scope.process(Scope.of(options[:cluster]), __MODULE__), request)
  catch
    :exit, {:noproc, _} -> {:error, :not_running}
  end

  # -- options -----------------------------------------------------------------------------------------------------

  defp read(opts) do
    known = [:policy, :quorum, :referee, :action | Keyword.keys(@times)]

    with true <- Keyword.keyword?(opts) || {:bad, "", opts, "a keyword list"},
         [] <- unknown(opts, known),
         {:ok, policy} <- policy(opts[:policy] || :majority, opts),
         {:ok, times} <- times(opts),
         action when is_nil(action) or is_function(action, 1) <- opts[:action] do
      {:ok, Map.merge(times, %{policy: policy, action: opts[:action]})}
    else
      {:bad, key, value, expected} -> invalid(key, value, expected)
      action -> invalid("action", action, "a function of one argument")
    end
  end

  defp unknown(opts, known) do
    case Keyword.keys(opts) -- known do
      [] -> []
      [key | _] -> {:bad, "", key, "one of #{inspect(known)}"}
    end
  end

  defp policy(:quorum, opts) do
    case opts[:quorum] do
      wanted when is_integer(wanted) and wanted > 0 -> {:ok, {:quorum, wanted}}
      other -> {:bad, "quorum", other, "a number of nodes above 0"}
    end
  end

  defp policy(:referee, opts) do
    case opts[:referee] do
      node when is_atom(node) and node != nil -> {:ok, {:referee, node}}
      other -> {:bad, "referee", other, "a node's name"}
    end
  end

  defp policy(policy, _opts) when policy in [:majority, :oldest, :none], do: {:ok, policy}
  defp policy(other, _opts), do: {:bad, "policy", other, "one of #{inspect(@policies)}"}

  defp times(opts) do
    Enum.reduce_while(@times, {:ok, %{}}, fn {key, default}, {:ok, times} ->
      case Keyword.get(opts, key, default) do
        ms when is_integer(ms) and ms > 0 -> {:cont, {:ok, Map.put(times, key, ms)}}
        other -> {:halt, {:bad, to_string(key), other, "a number of milliseconds above 0"}}
      end
    end)
  end

  defp invalid(key, value, expected) do
    key = if key == "", do: "partitions:", else: "partitions: #{key}"
    Logger.error("the configuration #{key} is #{inspect(value)}, and #{expected} was expected")
    {:error, {:invalid_config, %{key: key, value: value, expected: expected}}}
  end
end
