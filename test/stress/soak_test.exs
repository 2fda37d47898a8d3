defmodule Foundation.SoakTest do
  # Eight processes call every hot native function for 20 seconds while the VM reports whoever holds a scheduler for
  # longer than 10 ms.
  use ExUnit.Case, async: false

  alias Foundation.{Native, NifCatalog}

  @moduletag :soak
  @moduletag timeout: 120_000
  @seconds 20
  @processes 8
  @long_ms 10
  @batch 200

  test "no hot call holds a scheduler" do
    hot = Enum.filter(NifCatalog.entries(), & &1[:hot])
    assert hot != []
    # What there is once a VM is made here, before all want it at once.
    prepared(hot)

    monitor = spawn_link(fn -> collect([]) end)
    previous = :erlang.system_monitor(monitor, [{:long_schedule, @long_ms}])
    deadline = System.monotonic_time(:millisecond) + @seconds * 1000

    calls =
      1..@processes
      |> Enum.map(fn n -> Task.async(fn -> work(rotate(prepared(hot), n), deadline, 0) end) end)
      |> Task.await_many((@seconds + 60) * 1000)
      |> Enum.sum()

    :erlang.system_monitor(previous)
    send(monitor, {:report, self()})
    assert_receive {:long, reports}, 5_000

    assert calls > @processes * @batch
    assert Enum.filter(reports, &ours?/1) == []
  end

  defp prepared(hot), do: Enum.map(hot, fn %{nif: {name, _}, args: args} -> {name, args.()} end)

  defp rotate(list, n) do
    {front, back} = Enum.split(list, rem(n, length(list)))
    back ++ front
  end

  defp work(functions, deadline, calls) do
    if System.monotonic_time(:millisecond) > deadline do
      calls
    else
      for {name, args} <- functions, _ <- 1..@batch, do: apply(Native, name, args)
      work(functions, deadline, calls + length(functions) * @batch)
    end
  end

  defp collect(reports) do
    receive do
      {:monitor, subject, :long_schedule, info} -> collect([{subject, info} | reports])
      {:report, to} -> send(to, {:long, reports})
    end
  end

  defp ours?({_subject, info}) do
    Enum.any?(info, fn
      {where, {Foundation.Native, _, _}} when where in [:in, :out] -> true
      _ -> false
    end)
  end
end
