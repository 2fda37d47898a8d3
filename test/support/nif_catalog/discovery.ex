defmodule Foundation.NifCatalog.Discovery do
  @moduledoc false

  alias Foundation.Native

  # A port of its own, and no announcement: nobody is disturbed by what the tests and benches start.
  @udp_port 15_353

  def entries do
    [
      %{
        nif: {:discovery_announce, 2},
        scheduler: :dirty_io,
        bound: "O(1)",
        args: fn -> [session(), false] end
      },
      %{
        nif: {:discovery_stats, 1},
        scheduler: :dirty_cpu,
        bound: "O(nodes), at most 16,384",
        args: fn -> [session()] end
      },
      %{
        nif: {:discovery_stop, 1},
        scheduler: :dirty_io,
        bound: "waits for the goodbye, at most 500 ms; measured when stopped",
        args: fn -> [session()] end
      },
      %{
        nif: {:discovery_start, 5},
        scheduler: :dirty_io,
        bound: "two threads and their sockets; at most 64 at once, then `:busy`",
        args: &start/0
      }
    ]
  end

  defp start, do: [self(), {"catalog@host", "app", "catalog"}, {1, 0, @udp_port}, "secret", {false, []}]

  # One for all of the calls that need one.
  defp session do
    case :persistent_term.get(__MODULE__, nil) do
      nil ->
        session = open(250)
        :persistent_term.put(__MODULE__, session)
        session

      session ->
        session
    end
  end

  # Those that others started, and hold no longer, may still be saying goodbye.
  defp open(tries) do
    case apply(Native, :discovery_start, start()) do
      {:ok, session} ->
        session

      {:error, :busy} when tries > 0 ->
        :erlang.garbage_collect()

        receive do
        after
          20 -> open(tries - 1)
        end
    end
  end
end
