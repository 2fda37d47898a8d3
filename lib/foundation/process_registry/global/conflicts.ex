defmodule Foundation.ProcessRegistry.Global.Conflicts do
  @moduledoc false
  # Asks the user's function which of two claims is to stay, and tells who has lost.

  alias Foundation.ProcessRegistry.Global.Claims

  require Logger

  @timeout_ms 5_000

  @doc """
  Has the function decide, in a process of its own: `{:resolved, key, mine, other, :mine | :other | :none}`. What it does
  not decide in time is decided for the older claim, which is `mine`.
  """
  def ask(server, {module, function}, key, mine, other) do
    spawn(fn ->
      task = Task.async(fn -> attempt(module, function, key, mine, other) end)

      verdict =
        case Task.yield(task, @timeout_ms) || Task.shutdown(task, :brutal_kill) do
          {:ok, verdict} -> verdict
          _ -> complain(module, function, :timeout)
        end

      send(server, {:resolved, key, mine, other, verdict})
    end)
  end

  defp attempt(module, function, {_scope, name} = key, mine, other) do
    case apply(module, function, [name, Claims.entry(key, mine), Claims.entry(key, other)]) do
      pid when pid == elem(mine, 0) -> :mine
      pid when pid == elem(other, 0) -> :other
      :none -> :none
      answer -> complain(module, function, {:answered, answer})
    end
  catch
    kind, reason -> complain(module, function, {kind, reason})
  end

  defp complain(module, function, reason) do
    Logger.error(
      "#{inspect(module)}.#{function} did not resolve the conflict of two names: #{inspect(reason)}; the older stays"
    )

    :mine
  end

  @doc "Tells the holder that the name is lost, and kills what held it if so wished."
  def tell_loser({scope, name}, {pid, _metadata, _stamp, token}, settings, reason) do
    holder = Keyword.get(settings, :holder, pid)
    send(holder, {:foundation_lost, :name, {scope, name}, token, reason})
    if settings[:on_lost] == :kill, do: Process.exit(pid, :kill)
    :ok
  end
end
