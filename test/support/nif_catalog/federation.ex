defmodule Foundation.NifCatalog.Federation do
  @moduledoc false

  alias Foundation.Native

  def entries do
    [
      %{
        nif: {:federation_start, 2},
        scheduler: :dirty_io,
        bound: "a key and a socket for each cluster; at most 256",
        args: fn -> [options(), self()] end
      },
      %{
        nif: {:federation_call, 5},
        scheduler: :dirty_cpu,
        bound: "O(bytes), at most 4096 calls under way, then `:busy`",
        args: fn -> [running(), "catalog", "request", 0, make_ref()] end
      },
      %{
        nif: {:federation_cancel, 1},
        scheduler: :normal,
        bound: "O(1)",
        args: fn -> [call()] end,
        consumes: true
      },
      %{
        nif: {:federation_answer, 3},
        scheduler: :dirty_cpu,
        bound: "O(bytes)",
        args: fn -> [request(), 0, "answer"] end,
        consumes: true
      },
      %{
        nif: {:federation_cluster, 2},
        scheduler: :dirty_cpu,
        bound: "O(authorities)",
        args: fn -> [running(), "catalog"] end
      },
      %{
        nif: {:federation_refused, 1},
        scheduler: :dirty_cpu,
        bound: "O(gateways)",
        args: fn -> [running()] end
      },
      %{nif: {:federation_stop, 1}, scheduler: :dirty_cpu, bound: "O(clusters)", args: fn -> [stopped()] end}
    ]
  end

  defp options(gateway \\ nil) do
    cluster =
      {"catalog", {:member, ["a secret for the catalog"], gateway}, [], {1_000_000, 1_000_000_000, 1_000_000}}

    %{node: "catalog@host", boot: 1, max_payload: 10_000, clusters: [cluster]}
  end

  defp running do
    kept(:running, fn ->
      {:ok, running} = Native.federation_start(options(), self())
      running
    end)
  end

  defp stopped do
    kept(:stopped, fn ->
      {:ok, stopped} = Native.federation_start(options(), self())
      stopped
    end)
  end

  # Brought by a call of our own to a gateway of our own.
  defp request do
    {caller, _gateway} = kept(:pair, &pair/0)
    payload = "request #{System.unique_integer()}"
    {:ok, call} = Native.federation_call(caller, "catalog", payload, 5_000, make_ref())
    # As long as this process holds it, the call goes on.
    Process.put({__MODULE__, :call}, call)

    receive do
      {:foundation_federation, request, "catalog", "catalog@host", _within, ^payload, _number} -> request
    after
      5_000 -> raise "no request came"
    end
  end

  defp call do
    {:ok, call} = Native.federation_call(running(), "catalog", "request", 5_000, make_ref())
    call
  end

  defp pair do
    {:ok, gateway} = Native.federation_start(options("127.0.0.1:0"), self())
    {address, _, _} = Native.federation_cluster(gateway, "catalog")
    %{clusters: [cluster]} = options()

    {:ok, caller} =
      Native.federation_start(%{options() | clusters: [put_elem(cluster, 2, [address])]}, self())

    {caller, gateway}
  end

  # One for all of the calls of a process.
  defp kept(key, make) do
    with nil <- Process.get({__MODULE__, key}) do
      made = make.()
      Process.put({__MODULE__, key}, made)
      made
    end
  end
end
