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
        nif: {:federation_answer, 3},
        scheduler: :dirty_cpu,
        bound: "O(bytes)",
        args: fn -> [request(), 0, "answer"] end
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
    cluster = {"catalog", {:member, "a secret for the catalog", gateway}, [], {100, 10_000, 10}}
    %{node: "catalog@host", boot: 1, max_payload: 10_000, clusters: [cluster]}
  end

  # One for all of the calls that need one; the process that keeps it lives on.
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

  # A request that a call of our own to a gateway of our own has brought; answered by the first call.
  defp request do
    kept(:request, fn ->
      {:ok, gateway} = Native.federation_start(options("127.0.0.1:0"), self())
      {address, _, _} = Native.federation_cluster(gateway, "catalog")
      %{clusters: [cluster]} = options()

      {:ok, caller} =
        Native.federation_start(%{options() | clusters: [put_elem(cluster, 2, [address])]}, self())

      :ok = Native.federation_call(caller, "catalog", "request", 5_000, make_ref())

      receive do
        {:foundation_federation, request, "catalog", "catalog@host", _within, "request"} -> request
      after
        5_000 -> raise "no request came"
      end
    end)
  end

  defp kept(key, make) do
    case :persistent_term.get({__MODULE__, key}, nil) do
      nil ->
        made = make.()
        :persistent_term.put({__MODULE__, key}, made)
        made

      made ->
        made
    end
  end
end
