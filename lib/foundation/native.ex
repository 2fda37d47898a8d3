defmodule Foundation.Native do
  @moduledoc false
  # The functions of the native library, each a stub until the library is loaded. A library is loaded into one module, so
  # all are functions of this one; each domain's stand in its file under native/.
  #
  # Nothing but `Foundation` itself calls these: arguments are checked by the callers, and what is wrong here all the
  # same raises ArgumentError. guides/scheduling.md lists scheduler, bound and measured time of each one.

  @compile {:autoload, false}
  @on_load :load

  use Foundation.Native.Engine
  use Foundation.Native.Limits
  use Foundation.Native.Breakers
  use Foundation.Native.Pools
  use Foundation.Native.Metrics
  use Foundation.Native.Events
  use Foundation.Native.Discovery
  use Foundation.Native.Fabric
  use Foundation.Native.Topology
  use Foundation.Native.Federation
  use Foundation.Native.Crdt
  use Foundation.Native.Consensus
  use Foundation.Native.Market

  @doc false
  def load do
    :foundation
    |> :code.priv_dir()
    |> case do
      {:error, :bad_name} -> Path.join([Path.dirname(:code.which(__MODULE__)), "..", "priv"])
      path -> path
    end
    |> Path.join("native/foundation_nif")
    |> String.to_charlist()
    |> :erlang.load_nif(0)
  end

  defp missing, do: :erlang.nif_error(:native_library_not_loaded)
end
