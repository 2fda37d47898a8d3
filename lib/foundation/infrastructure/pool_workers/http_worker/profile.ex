defmodule Foundation.Infrastructure.PoolWorkers.HttpWorker.Profile do
  @moduledoc false
  # An httpc profile that lives and dies with the calling process.
  #
  # httpc names tables after a profile, so two profiles alive at once need two atoms. The atoms are numbered and taken
  # again when free: there are never more than workers alive at once. Whoever has registered the atom owns it.

  @spec start() :: pid
  def start, do: start(1)

  defp start(number) do
    name = :"foundation_httpc_#{number}"

    if Process.whereis(name) == nil and claim(name) do
      {:ok, profile} = :inets.start(:httpc, [profile: name], :stand_alone)
      Process.unregister(name)
      Process.register(profile, name)
      profile
    else
      start(number + 1)
    end
  end

  defp claim(name) do
    Process.register(self(), name)
  rescue
    ArgumentError -> false
  end
end
