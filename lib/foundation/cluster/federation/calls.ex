defmodule Foundation.Cluster.Federation.Calls do
  @moduledoc false
  # The calls that nodes of other clusters make here: each runs in a process of its own, with a bound on its memory, which
  # is ended when nobody waits for its answer any more. Owned by the process that starts them.

  alias Foundation.Cluster.Federation.Wire

  require Logger

  # In words: 256 MiB.
  @max_heap 32 * 1_048_576
  @longest 3_600_000
  # What an answer needs on its way: the caller gives up before its call is ended here.
  @grace 250

  @type outcome :: :returned | :not_allowed | :failed | :malformed | :not_plain | :cancelled
  @type caller :: {cluster :: String.t(), node :: String.t()}
  @type answer :: (Wire.status(), binary -> term)
  @type call :: %{pid: pid, timer: reference, answer: answer, caller: caller, key: term, cancelled: boolean}
  @type t :: %{by_monitor: %{reference => call}, by_key: %{term => reference}}

  @outcomes [:returned, :not_allowed, :failed, :malformed, :not_plain, :cancelled]

  @doc "Every way in which a call ends."
  @spec outcomes() :: [outcome]
  def outcomes, do: @outcomes

  @spec new() :: t
  def new, do: %{by_monitor: %{}, by_key: %{}}

  @doc "Starts a call that is known by `key`; `answer` is called with what it gives, once."
  @spec start(t, term, caller, Foundation.Cluster.Federation.Options.functions(), binary, pos_integer, answer) ::
          t
  def start(calls, key, caller, allowed, payload, within, answer) do
    serve = fn -> serve(caller, allowed, payload, answer) end
    heap = %{size: @max_heap, kill: true, error_logger: true}
    {pid, monitor} = :erlang.spawn_opt(serve, [:monitor, max_heap_size: heap])
    timer = Process.send_after(self(), {:deadline, monitor}, min(within, @longest) + @grace)
    call = %{pid: pid, timer: timer, answer: answer, caller: caller, key: key, cancelled: false}
    %{by_monitor: Map.put(calls.by_monitor, monitor, call), by_key: Map.put(calls.by_key, key, monitor)}
  end

  @doc "For `{:deadline, monitor}`."
  @spec deadline(t, reference) :: t
  def deadline(calls, monitor), do: stop(calls, monitor)

  @doc "Nobody waits for the answer of the call with that key."
  @spec cancel(t, term) :: t
  def cancel(calls, key), do: stop(calls, calls.by_key[key])

  defp stop(calls, monitor) do
    case calls.by_monitor do
      %{^monitor => call} ->
        Process.exit(call.pid, :kill)
        put_in(calls.by_monitor[monitor], %{call | cancelled: true})

      _ ->
        calls
    end
  end

  @doc "For `:DOWN`: how a call ended and whose it was, or nil when it is none of these."
  @spec ended(t, reference, term) :: {{outcome, caller} | nil, t}
  def ended(calls, monitor, reason) do
    case Map.pop(calls.by_monitor, monitor) do
      {nil, _} ->
        {nil, calls}

      {call, by_monitor} ->
        Process.cancel_timer(call.timer)

        {{outcome(call, reason), call.caller},
         %{by_monitor: by_monitor, by_key: Map.delete(calls.by_key, call.key)}}
    end
  end

  defp outcome(_call, {:answered, outcome}), do: outcome

  defp outcome(call, _killed) do
    {status, nothing} = Wire.failed()
    call.answer.(status, nothing)
    if call.cancelled, do: :cancelled, else: :failed
  end

  @doc "Ends them all, without an answer."
  @spec stop_all(t) :: :ok
  def stop_all(calls), do: Enum.each(calls.by_monitor, fn {_, %{pid: pid}} -> Process.exit(pid, :kill) end)

  # Ends with what it did as its reason, which nobody but its owner hears.
  defp serve(caller, allowed, payload, answer) do
    {outcome, {status, bytes}} = run(caller, allowed, payload)
    answer.(status, bytes)
    exit({:answered, outcome})
  end

  defp run(caller, allowed, payload) do
    with {:parse, {:ok, name, bytes}} <- {:parse, Wire.parse(payload)},
         {:allow, %{^name => {module, function}}} <- {:allow, allowed},
         {:decode, {:ok, args}} when is_list(args) <- {:decode, Wire.decode(bytes)},
         {:parse, {_, _, arity}} when length(args) == arity <- {:parse, name} do
      apply_it(caller, module, function, args)
    else
      {:allow, _} -> {:not_allowed, Wire.not_allowed()}
      {_, _} -> {:malformed, Wire.malformed()}
    end
  end

  defp apply_it(caller, module, function, args) do
    case Wire.returned(apply(module, function, args)) do
      {_, ""} = refused -> {:not_plain, refused}
      answer -> {:returned, answer}
    end
  catch
    kind, reason ->
      {cluster, node} = caller
      call = Exception.format_mfa(module, function, length(args))
      # Without the arguments, which are the caller's, and may be secret.
      text = Exception.format_banner(kind, reason, [])
      Logger.error("a call of #{call} from #{node} in the cluster #{cluster} failed: #{text}")
      {:failed, Wire.failed()}
  end
end
