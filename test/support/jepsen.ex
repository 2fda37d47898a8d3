defmodule Foundation.Jepsen do
  @moduledoc false
  # The workloads of the test that uses a cluster while it is being broken: each runs on its node in processes of its own
  # until it is told to stop, and gives what it did, with times that all nodes share.

  alias Foundation.{Config, Coordination}
  alias Foundation.Distributed.Consensus
  alias Foundation.ProcessRegistry
  alias Foundation.Types.Error

  @paths 64

  @pause_ms 5

  @doc "Starts the workers of this node."
  def start(seed) do
    :ok = Config.register_schema(__MODULE__.Registers)
    {:ok, stop} = Agent.start(fn -> false end)
    :persistent_term.put({__MODULE__, :stop}, stop)
    parent = spawn(fn -> gather(seed) end)
    Process.register(parent, __MODULE__)
    :ok
  end

  defp gather(seed) do
    workers =
      for {kind, n} <- [register: 1, register: 2, lock: 3, queue: 4, counter: 5, config: 6, name: 7] do
        Task.async(fn ->
          :rand.seed(:exsss, {seed, n, 7})
          loop(kind, [], 0)
        end)
      end

    histories = Task.await_many(workers, :infinity)

    receive do
      {:histories, from} -> send(from, {:histories, Enum.concat(histories)})
    end
  end

  @doc "Ends the workers, and gives everything they did."
  def stop do
    Agent.update(:persistent_term.get({__MODULE__, :stop}), fn _ -> true end)
    send(__MODULE__, {:histories, self()})

    receive do
      {:histories, histories} -> histories
    after
      30_000 -> raise "the workers do not end"
    end
  end

  defp stopped?, do: Agent.get(:persistent_term.get({__MODULE__, :stop}), & &1)

  defp loop(kind, history, n) do
    if stopped?() do
      history
    else
      history = work(kind, n) ++ history
      Process.sleep(@pause_ms)
      loop(kind, history, n + 1)
    end
  end

  # Many registers, each with few operations, so that their histories can be checked. Which one it is moves with time.
  defp work(:register, n) do
    key = {:register, div(now(), 700_000), :rand.uniform(2)}
    value = {node(), self(), n}
    invoked = now()

    {command, outcome} =
      case :rand.uniform(3) do
        1 -> {:read, read(Consensus.get_value(:foundation, key, timeout: 1_500))}
        2 -> {{:write, value}, written(Consensus.propose(:foundation, {:put, key, value}, timeout: 1_500))}
        3 -> cas(key, value)
      end

    case {command, outcome} do
      {:read, :nothing} -> []
      # It was said that this is not done, and never will be.
      {_write, :nothing} -> [{:never, value}]
      _ -> [{:register, key, invoked, returned(outcome), command, outcome}]
    end
  end

  # The same of the cluster's configuration.
  defp work(:config, n) do
    path = [:jepsen, :"r#{rem(div(now(), 700_000), @paths)}"]
    value = {node(), self(), n}
    invoked = now()

    if :rand.uniform(2) == 1 do
      case agreed(Config.get_with_consensus(path, timeout: 1_500)) do
        :nothing -> []
        outcome -> [{:register, {:config, path}, invoked, now(), :read, outcome}]
      end
    else
      answer = Config.set_cluster_wide(path, value, timeout: 1_500)
      versions = for {:ok, version} <- [answer], do: {:agreed, version}

      case written(answer) do
        :nothing ->
          [{:never, value}]

        outcome ->
          [{:register, {:config, path}, invoked, returned(outcome), {:write, value}, outcome} | versions]
      end
    end
  end

  defp work(:lock, n) do
    name = {:lock, rem(n, 2)}

    case Coordination.acquire(name, timeout: 1_500) do
      {:ok, grant} ->
        from = now()
        until = hold(grant, from, 20)
        Coordination.release(grant)
        [{:held, name, grant.token, from, until, node()}]

      {:error, reason} ->
        [{:refused, reason}]
    end
  end

  defp work(:queue, n) do
    queue = %Foundation.Distributed.Coordination.Object{kind: :queue, name: :queue, group: :foundation}
    value = {node(), self(), n}

    if rem(n, 2) == 0 do
      [{:pushed, value, Coordination.push(queue, value)}]
    else
      case Coordination.take(queue, timeout: 1_000) do
        {:ok, value, grant} -> [{:popped, value, Coordination.acknowledge(grant)}]
        {:error, reason} -> [{:refused, reason}]
      end
    end
  end

  defp work(:counter, _n) do
    counter = %Foundation.Distributed.Coordination.Object{kind: :counter, name: :counter, group: :foundation}
    [{:added, Coordination.add(counter, 1)}]
  end

  # A process that is killed when its name is lost says how long it was alive under which token.
  defp work(:name, n) do
    name = {:name, rem(n, 2)}
    process = spawn(fn -> receive(do: (:end -> :ok)) end)
    options = [scope: :jepsen, consistency: :consensus, on_lost: :kill, timeout: 1_500]

    with :ok <- ProcessRegistry.register_global(name, process, options),
         {:ok, %{pid: ^process, fencing_token: token}} <- ProcessRegistry.lookup_global(name, scope: :jepsen) do
      from = now()
      until = named(name, process, from, 20)
      ProcessRegistry.unregister_global(name, scope: :jepsen, timeout: 1_500)
      send(process, :end)
      [{:named, name, token, from, until, node()}]
    else
      error ->
        send(process, :end)
        [{:unnamed, error}]
    end
  end

  defp named(_name, _process, last, 0), do: last

  defp named(name, process, last, left) do
    asked = now()

    if ProcessRegistry.held_global?(name, scope: :jepsen) and
         ProcessRegistry.whereis_global(name, scope: :jepsen) == process do
      Process.sleep(1)
      named(name, process, asked, left - 1)
    else
      last
    end
  end

  # As long as it is held for certain; the last time that it was.
  defp hold(_grant, last, 0), do: last

  defp hold(grant, last, left) do
    asked = now()

    if Coordination.held?(grant) do
      Process.sleep(1)
      hold(grant, asked, left - 1)
    else
      last
    end
  end

  defp cas(key, value) do
    case Consensus.get_value(:foundation, key, consistency: :local, version: true, timeout: 1_500) do
      {:ok, found, version} ->
        outcome = Consensus.propose(:foundation, {:put, key, value, version}, timeout: 1_500)
        # By version it is set only where nothing came between, and so from the value that was found.
        {{:cas, found, value},
         if(match?({:error, {:conflict, _, _}}, outcome), do: :nothing, else: compared(outcome))}

      _ ->
        {:read, :nothing}
    end
  end

  defp read({:ok, value}), do: {:ok, value}
  defp read({:error, :not_found}), do: {:ok, nil}
  defp read({:error, _}), do: :nothing

  defp agreed({:ok, value}), do: {:ok, value}
  defp agreed({:error, %Error{error_type: :config_path_not_found}}), do: {:ok, nil}
  defp agreed({:error, _}), do: :nothing

  defp written({:ok, _version}), do: :ok
  defp written({:error, :unknown}), do: :unknown
  defp written({:error, _}), do: :nothing

  defp compared({:ok, _version}), do: {:ok, true}
  defp compared({:error, :unknown}), do: :unknown
  defp compared({:error, _}), do: :nothing

  defp returned(:unknown), do: :infinity
  defp returned(_outcome), do: now()

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

  # In µs; the nodes are on one machine.
  defp now, do: System.os_time(:microsecond)
end
