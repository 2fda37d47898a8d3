defmodule Foundation.ClusterProbe do
  @moduledoc false
  # Runs on a node under test: collects the cluster's events, to be asked for.

  def start(events \\ :all) do
    parent = self()

    pid =
      spawn(fn ->
        Process.register(self(), __MODULE__)
        :ok = Foundation.Cluster.subscribe(events)
        send(parent, :subscribed)
        loop([])
      end)

    receive do: (:subscribed -> {:ok, pid})
  end

  @doc "The events so far, oldest first, as `{event, node, reason}`."
  def events, do: Enum.map(raw(), &{&1.event, &1.node, &1.reason})

  @doc "The same, whole."
  def raw do
    send(__MODULE__, {:events, self()})
    receive do: ({:events, events} -> events)
  end

  @doc "Has the node's drain wait for a word to the process of that name, which then writes a file, if it is given one."
  def hold(name, path, options \\ []) do
    wait = fn ->
      Process.register(self(), name)
      receive do: (:done -> if(path, do: File.write!(path, "finished")))
    end

    Foundation.Cluster.on_drain(name, wait, options)
  end

  @doc "How many processes of this node are within a function of that module."
  def within(module) do
    Enum.count(Process.list(), fn pid ->
      case Process.info(pid, :current_stacktrace) do
        {:current_stacktrace, calls} -> List.keymember?(calls, module, 0)
        nil -> false
      end
    end)
  end

  @doc "Keeps the schedulers busy with that many processes."
  def burn(count), do: {:ok, for(_ <- 1..count, do: spawn(fn -> spin() end))}

  defp spin, do: spin()

  @doc "A way to connect that leaves a trace."
  def connect(:extra, node) do
    Application.put_env(:foundation, :test_connected, {:extra, node})
    :net_kernel.connect_node(node)
  end

  defp loop(events) do
    receive do
      {:foundation_cluster, event} ->
        loop([event | events])

      {:events, from} ->
        send(from, {:events, Enum.reverse(events)})
        loop(events)
    end
  end
end
