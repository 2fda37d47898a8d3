defmodule Foundation.Distributed.Coordination.Waiting do
  @moduledoc false
  # Asks for something under a hold and waits for it: what a caller does for a lock, a barrier, a value of a queue.

  alias Foundation.Distributed.Consensus.{Ask, Codec, Roster}
  alias Foundation.Distributed.Coordination.{Grant, Holds, Keeper, Object}

  # What one proposal is given when who asks does not want to wait for others.
  @try_ms 5_000

  @doc """
  `command` makes the command from the hold. Options: `:timeout`, `:wait`, `:lease` (0), `:reuse` (whether a kept lock
  will do).
  """
  @spec obtain(Object.t(), keyword, ({non_neg_integer, non_neg_integer} -> tuple)) ::
          {:ok, Grant.t()} | {:ok, Grant.t(), binary} | {:error, term}
  def obtain(%Object{} = object, options, command) do
    with {:ok, :coordination, _handle, keeper} <- Roster.find(object.group) do
      timeout = if options[:wait], do: options[:timeout], else: max(options[:timeout], @try_ms)
      attempt({object, keeper, options, command}, now() + timeout)
    else
      {:ok, :process, _handle, _keeper} -> {:error, :other_machine}
      error -> error
    end
  end

  defp attempt({object, keeper, options, _command} = asked, deadline) do
    reference = make_ref()
    what = {object.kind, Codec.name(object.name), object.name}

    case Keeper.enter(keeper, what, reference, reuse(options), left(deadline)) do
      {:kept, hold, token} -> {:ok, grant(object, hold, token)}
      {:enter, hold} -> propose(asked, hold, reference, deadline)
      {:error, reason} -> {:error, reason}
    end
  end

  defp propose({object, keeper, options, command} = asked, hold, reference, deadline) do
    sent = now()

    case Ask.command(object.group, command.(hold), left(deadline)) do
      {:granted, token, wanted} ->
        Keeper.held(keeper, hold, token, wanted, limit(options, sent))
        {:ok, grant(object, hold, Holds.token(token, 0))}

      {:item, token, value} ->
        Keeper.held(keeper, hold, token, true, {:node, nil})
        {:ok, grant(object, hold, Holds.token(token, 0)), value}

      {:queued, _ahead} ->
        wait(asked, hold, reference, deadline)

      {:error, :no_session} ->
        Keeper.session_gone(keeper, elem(hold, 0))
        again(asked, deadline, {:error, :no_leader})

      other ->
        Keeper.abandon(keeper, hold)
        refused(other)
    end
  end

  defp wait({object, _keeper, _options, _command} = asked, hold, reference, deadline) do
    receive do
      {^reference, {:granted, token, wanted}} ->
        leased(asked, hold, token, wanted, deadline)

      {^reference, {:item, token, value}} ->
        {:ok, grant(object, hold, Holds.token(token, 0)), value}

      {^reference, {:lost, _reason}} ->
        again(asked, deadline, {:error, :timeout})
    after
      left(deadline) -> give_up(asked, hold, reference)
    end
  end

  # When the lease has begun is not known here: it is made to begin again.
  defp leased({object, keeper, options, _command} = asked, hold, token, wanted, deadline) do
    sent = now()

    case group_lease(options) do
      0 -> :ok
      lease -> Ask.command(object.group, {:renew, hold, lease}, left(deadline))
    end
    |> case do
      {:error, _reason} = refused ->
        Keeper.abandon(keeper, hold)
        if refused == {:error, :not_held}, do: again(asked, deadline, {:error, :timeout}), else: refused

      _ ->
        Keeper.held(keeper, hold, token, wanted, limit(options, sent))
        {:ok, grant(object, hold, Holds.token(token, 0))}
    end
  end

  # Who waits at a barrier is counted until it is known not to be; it may have opened meanwhile.
  defp give_up({%Object{kind: kind} = object, keeper, _options, _command}, hold, reference)
       when kind in [:barrier, :double_barrier] do
    with {:error, :not_held} <- Ask.command(object.group, {:release, hold}, @try_ms) do
      receive do
        {^reference, {:granted, token, _wanted}} -> {:ok, grant(object, hold, Holds.token(token, 0))}
      after
        @try_ms -> {:error, :unknown}
      end
    end
    |> case do
      {:ok, grant} ->
        {:ok, grant}

      released ->
        Keeper.abandon(keeper, hold)
        {:error, if(released == :ok, do: :timeout, else: :unknown)}
    end
  end

  defp give_up({_object, keeper, _options, _command}, hold, _reference) do
    Keeper.abandon(keeper, hold)
    {:error, :timeout}
  end

  # The session has ended; the next one asks anew.
  defp again(asked, deadline, error) do
    if now() < deadline, do: attempt(asked, deadline), else: error
  end

  defp refused(refusal) when refusal in [:taken, :empty], do: {:error, refusal}
  defp refused({:error, reason}), do: {:error, reason}

  @doc "Leaves a double barrier, and waits until the others do."
  @spec leave(Grant.t(), pos_integer) :: :ok | {:error, term}
  def leave(%Grant{} = grant, timeout) do
    deadline = now() + timeout

    with {:ok, :coordination, _handle, keeper} <- Roster.find(grant.group),
         reference = make_ref(),
         :ok <- Keeper.await_again(keeper, grant.hold, reference) do
      case Ask.command(grant.group, {:leave, grant.hold}, timeout) do
        {:granted, _generation, _wanted} -> left_barrier(keeper, grant)
        {:queued, _inside} -> await_leave(keeper, grant, reference, deadline)
        {:error, reason} -> {:error, reason}
      end
    end
  end

  defp await_leave(keeper, grant, reference, deadline) do
    receive do
      {^reference, {:granted, _generation, _wanted}} -> left_barrier(keeper, grant)
      {^reference, {:lost, reason}} -> {:error, {:lost, reason}}
    after
      left(deadline) ->
        Keeper.abandon(keeper, grant.hold)
        {:error, :timeout}
    end
  end

  defp left_barrier(keeper, grant) do
    Keeper.abandon(keeper, grant.hold)
    :ok
  end

  defp grant(object, hold, token),
    do: %Grant{kind: object.kind, name: object.name, group: object.group, hold: hold, token: token}

  defp reuse(options), do: if(Keyword.get(options, :reuse, false), do: Keyword.get(options, :lease, 0))
  defp limit(options, since), do: options |> Keyword.get(:lease, 0) |> Keeper.limit(since)

  @doc "The lease that the group is to keep: 0 for one that this node ends itself."
  @spec group_lease(keyword) :: non_neg_integer
  def group_lease(options) do
    case limit(options, 0) do
      {:group, lease} -> lease
      {:node, _until} -> 0
    end
  end

  defp left(deadline), do: max(deadline - now(), 1)
  defp now, do: System.monotonic_time(:millisecond)
end
