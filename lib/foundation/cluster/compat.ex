defmodule Foundation.Cluster.Compat do
  @moduledoc false
  # How this library and libcluster get on.
  #
  # Strategies written for libcluster are compiled against its modules Cluster.Strategy, Cluster.Strategy.State and
  # Cluster.Logger. Where libcluster is a dependency, these are its own. Where it is not, compat/libcluster.ex defines them,
  # call for call; it looks whether libcluster is there at the time Foundation is compiled. Someone who adds libcluster
  # later has both until Foundation is compiled again: either then does what the other would, and `check/0` says so.

  require Logger

  @doc "Whether libcluster itself is on the code path."
  @spec libcluster?() :: boolean
  def libcluster?, do: is_list(:code.lib_dir(:libcluster))

  @doc "Whether Foundation brought libcluster's modules, though libcluster is there."
  @spec twice?() :: boolean
  def twice?, do: libcluster?() and ours?()

  @doc "Says in the log when the modules are there twice."
  @spec check() :: :ok
  def check do
    if twice?() do
      Logger.warning(
        "Foundation was compiled before libcluster was added, and both define Cluster.Strategy: " <>
          "run mix deps.compile foundation --force"
      )
    end

    :ok
  end

  # Those of this library's own directory, whichever is loaded.
  defp ours? do
    :foundation
    |> :code.lib_dir()
    |> to_string()
    |> Path.join("ebin/Elixir.Cluster.Strategy.beam")
    |> File.regular?()
  end
end
