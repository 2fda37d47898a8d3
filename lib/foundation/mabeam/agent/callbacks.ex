defmodule Foundation.MABEAM.Agent.Callbacks do
  @moduledoc false
  # Runs the functions of an agent's module and holds what they do wrong: whatever they raise, throw, exit with or return,
  # there is a reply for who asked and a state to go on with.

  @doc "The first state: of a snapshot when there is one and the module takes it, else of `init/1`."
  @spec begin(module, term, {:snapshot, term} | nil) :: {:ok, term} | {:error, term}
  def begin(module, args, snapshot) do
    began =
      case snapshot do
        {:snapshot, kept} ->
          if function_exported?(module, :restore, 2), do: module.restore(kept, args), else: module.init(args)

        nil ->
          module.init(args)
      end

    case began do
      {:ok, state} -> {:ok, state}
      {:error, reason} -> {:error, reason}
      _other -> {:error, {:bad_return, :init}}
    end
  catch
    kind, reason -> {:error, failure(kind, reason, __STACKTRACE__)}
  end

  @doc "The reply to a request, and the state after it; a failure leaves the state as it was."
  @spec run(module, atom, term, term) :: {:ok, term, term} | {:error, term}
  def run(module, kind, payload, state) do
    if supported?(module, kind), do: call(module, kind, payload, state), else: unsupported(kind, state)
  catch
    kind, reason -> {:error, failure(kind, reason, __STACKTRACE__)}
  end

  @doc "What the module wants kept of its state: `{:ok, term}`, or `:none`."
  @spec snapshot(module, term) :: {:ok, term} | :none | {:error, term}
  def snapshot(module, state) do
    if function_exported?(module, :snapshot, 1), do: {:ok, module.snapshot(state)}, else: :none
  catch
    kind, reason -> {:error, failure(kind, reason, __STACKTRACE__)}
  end

  @spec terminate(module, term, term) :: :ok
  def terminate(module, reason, state) do
    if function_exported?(module, :terminate, 2), do: module.terminate(reason, state)
    :ok
  catch
    _kind, _reason -> :ok
  end

  defp supported?(_module, :ping), do: true
  defp supported?(module, kind), do: function_exported?(module, name(kind), arity(kind))

  defp name(:vote), do: :handle_vote
  defp name(:proposal), do: :handle_proposal
  defp name(:bid), do: :handle_bid_request
  defp name(:task), do: :handle_task
  defp name(:variable), do: :handle_variable
  defp name(:event), do: :handle_event
  defp name(:utility), do: :utility

  defp arity(:variable), do: 3
  defp arity(_kind), do: 2

  # Who has no opinion abstains; who cannot do it says so.
  defp unsupported(:vote, state), do: {:ok, :abstain, state}
  defp unsupported(:bid, state), do: {:ok, :no_bid, state}
  defp unsupported(kind, state) when kind in [:variable, :event], do: {:ok, :ok, state}
  defp unsupported(kind, _state), do: {:error, {:not_supported, kind}}

  defp call(_module, :ping, _payload, state), do: {:ok, :pong, state}

  defp call(module, :vote, ballot, state) do
    case module.handle_vote(ballot, state) do
      {:vote, choice, state} -> {:ok, {:vote, choice}, state}
      {:abstain, state} -> {:ok, :abstain, state}
      _ -> {:error, {:bad_return, :handle_vote}}
    end
  end

  defp call(module, :proposal, proposal, state) do
    case module.handle_proposal(proposal, state) do
      {:accept, state} -> {:ok, :accept, state}
      {:reject, state} -> {:ok, {:reject, nil}, state}
      {:reject, reason, state} -> {:ok, {:reject, reason}, state}
      {:counter, counter, state} -> {:ok, {:counter, counter}, state}
      _ -> {:error, {:bad_return, :handle_proposal}}
    end
  end

  defp call(module, :bid, request, state) do
    case module.handle_bid_request(request, state) do
      {:bid, bid, state} -> {:ok, {:bid, bid}, state}
      {:no_bid, state} -> {:ok, :no_bid, state}
      _ -> {:error, {:bad_return, :handle_bid_request}}
    end
  end

  defp call(module, :task, task, state) do
    case module.handle_task(task, state) do
      {:ok, result, state} -> {:ok, {:done, result}, state}
      {:error, reason, state} -> {:ok, {:failed, reason}, state}
      _ -> {:error, {:bad_return, :handle_task}}
    end
  end

  defp call(module, :variable, {name, value}, state) do
    case module.handle_variable(name, value, state) do
      {:ok, state} -> {:ok, :ok, state}
      {:propose, wanted, state} -> {:ok, {:propose, wanted}, state}
      _ -> {:error, {:bad_return, :handle_variable}}
    end
  end

  defp call(module, :event, event, state) do
    case module.handle_event(event, state) do
      {:ok, state} -> {:ok, :ok, state}
      _ -> {:error, {:bad_return, :handle_event}}
    end
  end

  defp call(module, :utility, outcome, state) do
    case module.utility(outcome, state) do
      number when is_number(number) -> {:ok, {:utility, number}, state}
      _ -> {:error, {:bad_return, :utility}}
    end
  end

  # Without what was given to the function, which may be large and may be secret.
  defp failure(:error, reason, stacktrace) do
    exception = Exception.normalize(:error, reason, stacktrace)
    {:crashed, {exception.__struct__, exception |> message() |> String.slice(0, 500)}}
  end

  defp failure(:exit, reason, _stacktrace), do: {:crashed, {:exit, short(reason)}}
  defp failure(:throw, value, _stacktrace), do: {:crashed, {:throw, short(value)}}

  defp message(exception) do
    Exception.message(exception)
  catch
    _kind, _reason -> "no message"
  end

  defp short(term) when is_atom(term) or is_number(term), do: term
  defp short(term), do: inspect(term, limit: 10, printable_limit: 200)
end
