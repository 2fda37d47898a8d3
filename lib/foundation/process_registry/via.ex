defmodule Foundation.ProcessRegistry.Via do
  @moduledoc """
  Lets processes be started and called by a cluster-wide name: `{:via, Foundation.ProcessRegistry.Via, name}`.

      name = Foundation.ProcessRegistry.via_global(:ledger, consistency: :consensus)
      GenServer.start_link(MyApp.Ledger, [], name: name)
      GenServer.call(name, :balance)                     # on any node

  `name` is any term, or `{:in, scope, name, options}`, as `Foundation.ProcessRegistry.via_global/2` makes it. A process whose name is taken is not started:
  `{:error, {:already_started, pid}}`; when the name could not be asked for, `start_link` answers `{:error, {:already_started, :undefined}}` or fails as OTP does.

  No function here calls the native library, but for `:consensus` names.
  """

  alias Foundation.ProcessRegistry.Global

  @type name :: term | {:in, scope :: term, name :: term, options :: keyword}

  @doc "Registers the process: `:yes` or `:no`. For `GenServer` and the like."
  @spec register_name(name, pid) :: :yes | :no
  def register_name(name, pid) do
    {scope, name, options} = parts(name)
    if Global.register(name, pid, [scope: scope] ++ options) == :ok, do: :yes, else: :no
  end

  @doc "Takes the name away."
  @spec unregister_name(name) :: :ok
  def unregister_name(name) do
    {scope, name, _options} = parts(name)
    _ = Global.unregister(name, scope: scope)
    :ok
  end

  @doc "The process of the name. O(1), no message."
  @spec whereis_name(name) :: pid | :undefined
  def whereis_name(name) do
    {scope, name, _options} = parts(name)
    Global.whereis(name, scope: scope) || :undefined
  end

  @doc "Sends the process a message; exits with `{:badarg, {name, message}}` when there is none."
  @spec send(name, term) :: pid
  def send(name, message) do
    case whereis_name(name) do
      :undefined -> :erlang.exit({:badarg, {name, message}})
      pid -> Kernel.send(pid, message) && pid
    end
  end

  defp parts({:in, scope, name, options}) when is_list(options), do: {scope, name, options}
  defp parts(name), do: {:default, name, []}
end
