defmodule Foundation.Jepsen do
  @moduledoc false
  # The workloads of the test that uses a cluster while it is being broken. Each runs on its node in processes of its own
  # until it is told to stop, and writes down what it does (Foundation.JepsenHistory), with times that all nodes share:
  #
  #     {:call, kind, node, from, to, :done | :refused | :unknown}     every call, however it went
  #     {:register, key, from, to, command, outcome}                   as Foundation.Linearizable has it
  #     {:never, value}                                                a write that was said not to be done
  #     {:agreed, version}                                             of a change of the configuration
  #     {:held, name, token, from, until, node}                        a lock, for certain held all that time
  #     {:named, name, token, from, until, node}                       a name, likewise
  #     {:pushed, value, outcome}, {:popped, value, outcome}           of the queue
  #     {:added, answer}                                               of the counter
  #
  # What may have happened is written down before it is asked for, so that nothing is forgotten by a node that is killed.

  alias Foundation.{Config, Coordination}
  alias Foundation.Distributed.Consensus
  alias Foundation.Distributed.Coordination.Object
  alias Foundation.JepsenHistory, as: History
  alias Foundation.ProcessRegistry
  alias Foundation.Types.Error

  @workers [:register, :register, :lock, :queue, :counter, :config, :name]
  @stop {__MODULE__, :stop}
  @paths 128
  @turn_us 700_000
  @pause_ms 5
  @timeout 1_500
  @looks 20

  @doc "Starts the workers of this node, which write into that directory."
  def start(directory, seed) do
    # Attempts to connect across a cut are refused, and each refusal is an error to the logger.
    Logger.configure(level: :critical)
    :ok = Config.register_schema(__MODULE__.Registers)
    :persistent_term.put(@stop, :atomics.new(1, []))
    parent = spawn(fn -> gather(directory, seed) end)
    Process.register(parent, __MODULE__)
    :ok
  end

  defp gather(directory, seed) do
    for {kind, index} <- Enum.with_index(@workers) do
      Task.async(fn ->
        :rand.seed(:exsss, {seed, index, 7})
        worker = {node(), System.pid(), index}
        book = History.open(directory, worker)
        loop(kind, worker, book, 0)
      end)
    end
    |> Task.await_many(:infinity)

    receive do
      {:stopped?, from} -> send(from, {__MODULE__, :stopped})
    end
  end

  @doc "Ends the workers."
  def stop do
    :atomics.put(:persistent_term.get(@stop), 1, 1)
    send(__MODULE__, {:stopped?, self()})

    receive do
      {__MODULE__, :stopped} -> :ok
    after
      30_000 -> raise "the workers do not end"
    end
  end

  defp loop(kind, worker, book, n) do
    if :atomics.get(:persistent_term.get(@stop), 1) == 0 do
      work(kind, {worker, n}, &History.say(book, n, &1))
      Process.sleep(@pause_ms)
      loop(kind, worker, book, n + 1)
    end
  end

  @doc "Every register there was, with what it has in the end, as operations of a history."
  def last_reads(keys) do
    for key <- keys do
      from = now()
      {:ok, _} = outcome = last_read(key)
      {:register, key, from, now(), :read, outcome}
    end
  end

  defp last_read({:config, path}), do: agreed(Config.get_with_consensus(path))
  defp last_read(key), do: read(Consensus.get_value(:foundation, key, []))

  # Many registers, each with few operations, so that their histories can be checked. Which one it is moves with time.
  defp work(:register, value, say) do
    key = {:register, div(now(), @turn_us), :rand.uniform(2)}

    case :rand.uniform(3) do
      1 -> get(:register, key, say, fn -> read(Consensus.get_value(:foundation, key, timeout: @timeout)) end)
      2 -> put(key, {:write, value}, {:put, key, value}, say)
      3 -> compare_and_set(key, value, say)
    end
  end

  # The same of the cluster's configuration.
  defp work(:config, value, say) do
    path = [:jepsen, :"r#{rem(div(now(), @turn_us), @paths)}"]
    key = {:config, path}

    if :rand.uniform(2) == 1 do
      get(:config, key, say, fn -> agreed(Config.get_with_consensus(path, timeout: @timeout)) end)
    else
      from = now()
      say.([{:register, key, from, :infinity, {:write, value}, :unknown}])
      {answer, call} = call(:config, fn -> Config.set_cluster_wide(path, value, timeout: @timeout) end)
      versions = for {:ok, version} <- [answer], do: {:agreed, version}
      say.([call, written(key, from, {:write, value}, answer) | versions])
    end
  end

  defp work(:lock, {_worker, n}, say) do
    name = {:lock, rem(n, 2)}
    {answer, call} = call(:lock, fn -> Coordination.acquire(name, timeout: @timeout) end)

    say.([call])

    with {:ok, grant} <- answer do
      certain(fn -> Coordination.held?(grant) end, fn from, until ->
        say.([call, {:held, name, grant.token, from, until, node()}])
      end)

      Coordination.release(grant)
    end
  end

  defp work(:queue, {_worker, n} = value, say) do
    queue = %Object{kind: :queue, name: :queue, group: :foundation}
    if rem(n, 2) == 0, do: push(queue, value, say), else: pop(queue, say)
  end

  defp work(:counter, _value, say) do
    counter = %Object{kind: :counter, name: :counter, group: :foundation}
    say.([{:added, {:error, :unknown}}])
    {answer, call} = call(:counter, fn -> Coordination.add(counter, 1) end)
    say.([call, {:added, answer}])
  end

  # A process that is killed when its name is lost says how long it was alive under which token.
  defp work(:name, {_worker, n}, say) do
    name = {:name, rem(n, 2)}
    process = spawn(fn -> receive(do: (:end -> :ok)) end)
    options = [scope: :jepsen, consistency: :consensus, on_lost: :kill, timeout: @timeout]
    {answer, call} = call(:name, fn -> ProcessRegistry.register_global(name, process, options) end)
    say.([call])

    with :ok <- answer,
         {:ok, %{pid: ^process, fencing_token: token}} <- ProcessRegistry.lookup_global(name, scope: :jepsen) do
      certain(fn -> named?(name, process) end, fn from, until ->
        say.([call, {:named, name, token, from, until, node()}])
      end)

      ProcessRegistry.unregister_global(name, scope: :jepsen, timeout: @timeout)
    end

    send(process, :end)
  end

  defp named?(name, process) do
    ProcessRegistry.held_global?(name, scope: :jepsen) and
      ProcessRegistry.whereis_global(name, scope: :jepsen) == process
  end

  # Notes from when until when it was so for certain, if ever: a worker may be asleep between any two steps.
  defp certain(so?, note) do
    from = now()

    if so?.() do
      note.(from, from)
      note.(from, last_seen(so?, from, @looks))
    end
  end

  defp last_seen(_so?, last, 0), do: last

  defp last_seen(so?, last, left) do
    asked = now()

    if so?.() do
      Process.sleep(1)
      last_seen(so?, asked, left - 1)
    else
      last
    end
  end

  # -- registers

  defp get(kind, key, say, function) do
    {outcome, {:call, _, _, from, to, _} = call} = call(kind, function)
    reads = for {:ok, _} <- [outcome], do: {:register, key, from, to, :read, outcome}
    say.([call | reads])
  end

  defp put(key, command, proposal, say) do
    from = now()
    say.([{:register, key, from, :infinity, command, :unknown}])
    {answer, call} = call(:register, fn -> Consensus.propose(:foundation, proposal, timeout: @timeout) end)
    say.([call, written(key, from, command, answer)])
  end

  # By version it is set only where nothing came between, and so from the value that was found.
  defp compare_and_set(key, value, say) do
    case Consensus.get_value(:foundation, key, consistency: :local, version: true, timeout: @timeout) do
      {:ok, found, version} -> put(key, {:cas, found, value}, {:put, key, value, version}, say)
      _ -> say.([])
    end
  end

  defp written(key, from, command, {:ok, _version}),
    do: {:register, key, from, now(), command, if(match?({:cas, _, _}, command), do: {:ok, true}, else: :ok)}

  defp written(key, from, command, {:error, :unknown}),
    do: {:register, key, from, :infinity, command, :unknown}

  # It was said that this is not done, and never will be.
  defp written(_key, _from, command, {:error, _}), do: {:never, new_value(command)}

  @doc "What a command would have a register hold, or nil."
  def new_value({:write, value}), do: value
  def new_value({:cas, _from, to}), do: to
  def new_value(:read), do: nil

  defp read({:ok, value}), do: {:ok, value}
  defp read({:error, :not_found}), do: {:ok, nil}
  defp read(error), do: error

  defp agreed({:error, %Error{error_type: :config_path_not_found}}), do: {:ok, nil}
  defp agreed(answer), do: answer

  # -- the queue

  defp push(queue, value, say) do
    say.([{:pushed, value, :unknown}])
    {answer, call} = call(:queue, fn -> Coordination.push(queue, value) end)
    say.([call, {:pushed, value, done(answer)}])
  end

  # What was taken and not acknowledged goes back; what may have been acknowledged is said before.
  defp pop(queue, say) do
    {answer, call} = call(:queue, fn -> Coordination.take(queue, timeout: 1_000) end)
    say.([call])

    with {:ok, value, grant} <- answer do
      say.([call, {:popped, value, :unknown}])
      {answer, second} = call(:queue, fn -> Coordination.acknowledge(grant) end)
      say.([call, second, {:popped, value, done(answer)}])
    end
  end

  defp done(:ok), do: :ok
  defp done({:error, :unknown}), do: :unknown
  defp done({:error, _}), do: :refused

  # -- calls

  defp call(kind, function) do
    from = now()
    answer = function.()
    {answer, {:call, kind, node(), from, now(), verdict(answer)}}
  end

  defp verdict({:error, :unknown}), do: :unknown
  # The group has said so.
  defp verdict({:error, {:conflict, _version, _value}}), do: :done
  defp verdict({:error, _}), do: :refused
  defp verdict(_answer), do: :done

  # In µs; the nodes are on one machine.
  defp now, do: System.os_time(:microsecond)

  # A section of the configuration with many registers.
  fields = for n <- 0..(@paths - 1), do: quote(do: field(unquote(:"r#{n}"), :any))

  Module.create(
    __MODULE__.Registers,
    quote do
      @moduledoc false
      use Foundation.Config.Schema

      defconfig :jepsen do
        (unquote_splicing(fields))
      end
    end,
    Macro.Env.location(__ENV__)
  )
end
