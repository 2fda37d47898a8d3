defmodule Foundation.MABEAM.Comms do
  @moduledoc """
  Brings requests and events to agents by their ids, on this node and on others, each with a deadline.

      {:ok, {:done, 42}} = Comms.request(:calculator, {:task, {:multiply, 6, 7}})
      :ok = Comms.notify(:calculator, :low_on_power)

  An agent is looked for on this node first, then on the others, all of which are asked at once; where it was found is
  remembered for 30 s. Nodes connected by Erlang distribution are reached by it, others over the fabric's channel
  `:coordination` when it runs.

  Back-pressure: an agent has room for `max_mailbox` waiting requests and events. There is an atomic count of them, which
  is why a full one answers `{:error, :busy}` at once and by nobody's work.

  In an agent's callback a request ends when the callback's own answer is due, whatever its `timeout:`; it carries the
  agents that it came through, and one of them asked again is `{:error, {:cycle, agents}}`.

  **Scheduling**: no function here calls the native library, but to nodes that only the fabric reaches; see
  `Foundation.Distributed.Channels`.
  """

  alias Foundation.Distributed
  alias Foundation.Distributed.Context
  alias Foundation.MABEAM.Agent.{Account, Gate}
  alias Foundation.MABEAM.{AgentRegistry, Types}
  alias Foundation.MABEAM.AgentRegistry.Table
  alias Foundation.MABEAM.Comms.{Delivery, Directory, Inbox, Topics}
  alias Foundation.MABEAM.Types.Request
  alias Foundation.Peers

  @timeout 5_000

  @type agent_id :: Types.agent_id()
  @type reason ::
          :not_found
          | :not_running
          | :not_started
          | :draining
          | :stopping
          | :busy
          | :timeout
          | :expired
          | :down
          | :unreachable
          | :too_deep
          | {:cycle, [agent_id]}
          | {:crashed, term}
          | {:bad_return, atom}
          | {:not_supported, atom}
          | {:budget, :tokens | :money}

  @doc """
  Asks an agent, and waits for what it says: `{:ok, reply}`. Requests and replies are in
  `Foundation.MABEAM.Types.Request`.

  Options: `timeout:` 5,000 ms or `:infinity`; `correlation_id:` a string: a request with one that the agent has
  answered within the last minute gets that answer, and nothing is done again (also that of the request, when it is a
  `Request`).

  Errors: `:not_found`, `:not_running` (no MABEAM here), `:not_started`, `:draining`, `:stopping`, `:busy`, `:timeout`, `:expired`
  (its turn came too late: not done), `:down` (it ended before it answered), `:unreachable`, `{:crashed, what}`,
  `{:bad_return, callback}`, `{:not_supported, kind}`, and in a callback `{:cycle, agents}`, `:too_deep` (16 agents). After
  `:timeout`, `:down` and `:unreachable` it may have been done. O(1) and two messages.
  """
  @spec request(agent_id, Request.t() | {Request.kind(), term}, keyword) ::
          {:ok, Request.reply()} | {:error, reason}
  def request(id, request, opts \\ []) do
    request = request!(request)
    correlation = Keyword.get(opts, :correlation_id, request.correlation_id)
    send_request(id!(id), request.kind, request.payload, correlation, timeout!(opts))
  end

  @doc false
  @spec ping(agent_id, timeout) :: :ok | {:error, reason}
  def ping(id, timeout) do
    with {:ok, :pong} <- send_request(id, :ping, nil, nil, timeout), do: :ok
  end

  defp send_request(id, kind, payload, correlation, timeout) do
    deadline = Enum.min([Delivery.deadline(timeout), elem(Account.request(), 0)])
    left = Delivery.left(deadline)

    with :ok <- running(), {:ok, chain} <- Account.chain(id) do
      ask = {kind, payload, {deadline, correlation, chain, Context.carry()}}

      # It may have moved since it was found: not found is not done, so it may be asked for again.
      with {:error, :not_found} <- id |> Directory.find(left) |> send_to(id, ask),
           do: id |> Directory.find(Delivery.left(deadline)) |> send_to(id, ask)
    end
  end

  defp send_to({:here, pid, gate, limit}, _id, {kind, payload, {deadline, _, _, _} = meta}),
    do: near(pid, gate, limit, {:ask, kind, payload, meta}, Delivery.left(deadline))

  defp send_to({:node, node}, id, {kind, payload, {deadline, correlation, chain, carrier}}) do
    left = Delivery.left(deadline)
    far(id, node, {:ask, id, kind, payload, left, correlation, chain, carrier}, left)
  end

  defp send_to({:error, reason}, _id, _ask), do: {:error, reason}

  defp near(pid, gate, limit, message, left) do
    with :ok <- Gate.enter(gate, limit), do: pid |> GenServer.call(message, left) |> settle()
  catch
    :exit, {:timeout, _} -> {:error, :timeout}
    :exit, {_reason, {GenServer, :call, _}} -> {:error, :down}
  end

  defp far(id, node, message, left) do
    answer =
      if Delivery.connected?(node),
        do: {:ok, GenServer.call({Inbox, node}, message, left)},
        else: Distributed.call(:coordination, {Inbox, node}, message, timeout: left)

    case answer do
      {:ok, {:answer, {:error, :not_found}, _cost}} -> gone(id, :not_found)
      {:ok, answer} -> settle(answer)
      {:error, reason} when reason in [:timeout, :busy] -> {:error, reason}
      {:error, _reason} -> gone(id, :unreachable)
    end
  catch
    :exit, {:timeout, _} -> {:error, :timeout}
    :exit, {_reason, {GenServer, :call, _}} -> gone(id, :unreachable)
  end

  # The next request looks for it anew.
  defp gone(id, reason) do
    Directory.forget(id)
    {:error, reason}
  end

  defp settle({:answer, reply, cost}) do
    with {tokens, money} <- cost, do: if(Account.agent(), do: Account.add(tokens, money))

    case reply do
      {:error, reason} -> {:error, reason}
      reply -> {:ok, reply}
    end
  end

  @doc """
  Tells an agent something, for its `handle_event/2`, and does not wait for it.

  `:ok` when it is in the agent's mailbox, or on the way to its node. Errors as `request/3` has before it waits. O(1).
  """
  @spec notify(agent_id, term) :: :ok | {:error, reason}
  def notify(id, event) do
    with :ok <- running(), {:ok, chain} <- Account.chain(id!(id)) do
      case Directory.find(id, @timeout) do
        {:here, pid, gate, limit} ->
          Delivery.tell(pid, gate, limit, event, {:infinity, nil, chain, Context.carry()})

        {:node, node} ->
          tell_node(node, [id], event, chain, @timeout)[id] |> refused()

        error ->
          error
      end
    end
  end

  defp refused(nil), do: :ok
  defp refused(reason), do: {:error, reason}

  @doc """
  Tells every agent that fits the criteria of `Foundation.MABEAM.AgentRegistry.find_agents/1`, of all nodes unless they
  have `node:`. As `multicast/3`.
  """
  @spec broadcast(keyword, term, keyword) ::
          {:ok, %{told: non_neg_integer, refused: map}} | {:error, :not_running}
  def broadcast(criteria, event, opts \\ []),
    do: criteria |> Keyword.put_new(:node, :all) |> AgentRegistry.find_agents() |> multicast(event, opts)

  @doc """
  Tells each of these agents: `{:ok, %{told: n, refused: %{id => reason}}}`, with those in whose mailbox it is, and those
  where it is not, and why.

  Options: `timeout:` 5,000 ms for other nodes. Errors: `:not_running`. O(agents), one message a node.
  """
  @spec multicast([agent_id], term, keyword) ::
          {:ok, %{told: non_neg_integer, refused: map}} | {:error, :not_running}
  def multicast(ids, event, opts \\ []) when is_list(ids) do
    timeout = timeout!(opts)
    ids = ids |> Enum.map(&id!/1) |> Enum.uniq()

    with :ok <- running() do
      {_deadline, chain} = Account.request()
      places = Directory.find_all(ids, timeout)

      refused =
        places
        |> Enum.group_by(&where/1, &elem(&1, 0))
        |> Enum.map(fn {where, ids} -> tell_all(where, ids, event, chain, timeout) end)
        |> Enum.reduce(%{}, &Map.merge/2)

      {:ok, %{told: length(ids) - map_size(refused), refused: refused}}
    end
  end

  defp where({_id, {:here, _pid, _gate, _limit}}), do: :here
  defp where({_id, place}), do: place

  defp tell_all(:here, ids, event, chain, _timeout),
    do: Inbox.tell(ids, event, {:infinity, nil, chain, Context.carry()})

  defp tell_all({:node, node}, ids, event, chain, timeout), do: tell_node(node, ids, event, chain, timeout)
  defp tell_all({:error, reason}, ids, _event, _chain, _timeout), do: Map.new(ids, &{&1, reason})

  defp tell_node(node, ids, event, chain, timeout) do
    message = {:tell, ids, event, chain, Context.carry()}

    answer =
      if Delivery.connected?(node),
        do: {:ok, GenServer.call({Inbox, node}, message, timeout)},
        else: Distributed.call(:coordination, {Inbox, node}, message, timeout: timeout)

    case answer do
      {:ok, %{} = refused} -> refused
      _ -> Map.new(ids, &{&1, :unreachable})
    end
  catch
    :exit, {:timeout, _} -> Map.new(ids, &{&1, :timeout})
    :exit, {_reason, {GenServer, :call, _}} -> Map.new(ids, &{&1, :unreachable})
  end

  @doc """
  Tells the agents, of all nodes, that listen to a topic (`subscribe/2`).

  Options: `scope:` `:cluster` or `:local`. `{:ok, %{local: n}}` with the number of this node's agents in whose mailbox it
  is; to other nodes it is sent without waiting. Errors: `:not_running`. O(listeners here and nodes).
  """
  @spec publish_event(term, term, keyword) :: {:ok, %{local: non_neg_integer}} | {:error, :not_running}
  def publish_event(topic, event, opts \\ []) do
    scope = Keyword.get(opts, :scope, :cluster)

    unless scope in [:cluster, :local],
      do: raise(ArgumentError, "scope: must be :cluster or :local, got: #{inspect(scope)}")

    with :ok <- running() do
      carrier = Context.carry()
      listeners = Topics.listeners(topic)
      refused = Inbox.tell(listeners, event, {:infinity, nil, [], carrier})

      if scope == :cluster,
        do:
          for(
            node <- Peers.nodes() -- [node()],
            do: Delivery.to_node(node, {:publish, topic, event, carrier})
          )

      {:ok, %{local: length(listeners) - map_size(refused)}}
    end
  end

  @doc "Has an agent of this node listen to a topic, any term. Errors: `:not_found`, `:not_running`. O(1)."
  @spec subscribe(agent_id, term) :: :ok | {:error, :not_found | :not_running}
  def subscribe(id, topic) do
    with {:ok, _entry} <- Table.entry(id!(id)) do
      Topics.listen(topic, id)
      :ok
    end
  end

  @doc "Ends what `subscribe/2` began. Errors: `:not_running`. O(1)."
  @spec unsubscribe(agent_id, term) :: :ok | {:error, :not_running}
  def unsubscribe(id, topic) do
    with :ok <- running() do
      Topics.leave(topic, id!(id))
      :ok
    end
  end

  defp running, do: if(Table.there?(), do: :ok, else: {:error, :not_running})

  defp request!(%Request{} = request), do: request
  defp request!(request), do: Request.new!(request)

  defp id!(id) do
    if Types.agent_id?(id),
      do: id,
      else: raise(ArgumentError, "an agent id is an atom or a string of 1 to 255 bytes, got: #{inspect(id)}")
  end

  defp timeout!(opts) do
    case Keyword.get(opts, :timeout, @timeout) do
      :infinity ->
        :infinity

      ms when is_integer(ms) and ms >= 0 and ms <= 0xFFFFFFFF ->
        ms

      other ->
        raise ArgumentError, "timeout: must be a whole number of ms or :infinity, got: #{inspect(other)}"
    end
  end
end
