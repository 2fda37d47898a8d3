defmodule Foundation.NifCatalog.Consensus do
  @moduledoc false

  alias Foundation.Native

  def entries, do: engine() ++ groups() ++ machines() ++ calls()

  defp engine do
    [
      entry({:consensus_start, 2}, :dirty_io, "opens the log: O(bytes of it)", fn ->
        [options("c"), self()]
      end),
      entry({:consensus_stop, 1}, :dirty_io, "ends its groups", fn -> [start("c")] end),
      entry({:consensus_receive, 3}, :normal, "O(bytes), at most 64 KB by its callers", fn ->
        [engine_of_one(), "catalog_other", ["frame"]]
      end),
      entry({:consensus_receive_large, 3}, :dirty_cpu, "O(bytes)", fn ->
        [engine_of_one(), "catalog_other", ["frame"]]
      end),
      entry({:consensus_attach, 2}, :normal, "O(1)", fn -> [engine_of_one(), fabric()] end),
      entry({:consensus_stored, 1}, :dirty_cpu, "O(groups)", fn -> [engine_of_one()] end),
      entry({:consensus_recover, 3}, :dirty_io, "one record of the log", fn ->
        [engine_of_one(), "catalog_unknown", "the majority is lost"]
      end)
    ]
  end

  defp groups do
    [
      entry({:consensus_group_start, 6}, :normal, "O(members), the rest by the runtime", fn ->
        name = "catalog_#{:erlang.unique_integer([:positive])}"
        [engine_of_one(), make_ref(), name, ["catalog_one"], group_options(), {:coordination, idle()}]
      end),
      entry({:consensus_group_stop, 2}, :dirty_io, "waits for its end", fn ->
        [engine_of_one(), "catalog_unknown"]
      end),
      entry({:consensus_status, 1}, :dirty_cpu, "O(members)", fn -> [group()] end),
      entry({:consensus_change, 4}, :normal, "O(members), the rest by the runtime", fn ->
        [group(), make_ref(), {:members, ["catalog_one"]}, 10]
      end)
    ]
  end

  defp machines do
    [
      entry({:consensus_answer, 2}, :normal, "O(bytes), at most 64 KB and 1,024 replies", fn ->
        [ticket(), ["answer"]]
      end)
      |> Map.put(:consumes, true),
      entry({:consensus_answer_large, 2}, :dirty_cpu, "O(bytes)", fn -> [ticket(), ["answer"]] end)
      |> Map.put(:consumes, true)
    ]
  end

  defp calls do
    [
      entry({:consensus_propose, 5}, :normal, "O(bytes), at most 64 KB", fn ->
        [group(), make_ref(), "no command", 100, nil]
      end),
      entry({:consensus_propose_large, 5}, :dirty_cpu, "O(bytes)", fn ->
        [group(), make_ref(), "no command", 100, nil]
      end),
      entry({:consensus_read, 5}, :normal, "O(bytes), at most 64 KB", fn ->
        [group(), make_ref(), "no query", :local, 100]
      end),
      entry({:consensus_coordinate, 5}, :normal, "O(bytes), at most 1 MB or 10,000 holds", fn ->
        [group(), make_ref(), {:add, "catalog", 1}, 100, nil]
      end),
      entry({:consensus_ask, 5}, :normal, "O(bytes)", fn ->
        [group(), make_ref(), {:counter, "catalog"}, :local, 100]
      end)
    ]
  end

  defp entry(nif, scheduler, bound, args), do: %{nif: nif, scheduler: scheduler, bound: bound, args: args}

  # One engine a VM, with a group of one member.
  defp engine_of_one do
    case :persistent_term.get(__MODULE__, nil) do
      {engine, _group} ->
        engine

      nil ->
        engine = start("catalog_one")
        :persistent_term.put(__MODULE__, {engine, start_group(engine, "catalog", {:coordination, idle()})})
        engine
    end
  end

  defp group do
    engine_of_one()
    {_engine, group} = :persistent_term.get(__MODULE__)
    group
  end

  # Of the fabric's catalogue.
  defp fabric do
    %{args: args} = Enum.find(Foundation.NifCatalog.Fabric.entries(), &(&1.nif == {:fabric_info, 1}))
    hd(args.())
  end

  defp start(me) do
    {:ok, engine} = Native.consensus_start(options(me), idle())
    engine
  end

  defp start_group(engine, name, machine) do
    reference = make_ref()

    :ok = Native.consensus_group_start(engine, reference, name, ["catalog_one"], group_options(), machine)

    receive do
      {^reference, {:ok, group}} -> group
    after
      10_000 -> raise "the catalogue's group does not start"
    end
  end

  # Of a command that a machine is to apply: its reply is what the group goes on with.
  defp ticket do
    send(machine(), {:ticket, self()})

    receive do
      {:catalog_ticket, ticket} -> ticket
    after
      10_000 -> raise "the catalogue's machine is not asked"
    end
  end

  defp machine do
    with nil <- :persistent_term.get({__MODULE__, :machine}, nil) do
      machine = spawn(fn -> receive do: ({:group, group} -> apply_next(group, nil, nil)) end)
      send(machine, {:group, start_group(engine_of_one(), "catalog_machine", {:process, machine})})
      :persistent_term.put({__MODULE__, :machine}, machine)
      machine
    end
  end

  # Whoever got the last ticket may not have used it.
  defp apply_next(group, last, asker) do
    receive do
      {:ticket, asker} ->
        if last, do: Native.consensus_answer_large(last, ["answer"])
        :ok = Native.consensus_propose(group, make_ref(), "command", 10_000, nil)
        apply_next(group, nil, asker)

      {:foundation_machine, ticket, {:apply, [_command]}} ->
        send(asker, {:catalog_ticket, ticket})
        apply_next(group, ticket, nil)

      {:foundation_machine, ticket, :snapshot} ->
        Native.consensus_answer_large(ticket, "state")
        apply_next(group, last, asker)

      _other ->
        apply_next(group, last, asker)
    end
  end

  defp idle, do: spawn(&swallow/0)

  defp swallow do
    receive do
      _ -> swallow()
    end
  end

  defp options(me),
    do: %{me: me, dir: nil, sync: true, heartbeat_ms: 50, election_min_ms: 150, election_max_ms: 300}

  defp group_options, do: %{max_in_flight: 1_000, max_command: 65_536, snapshot_entries: 10_000}
end
