defmodule Foundation.ProcessRegistry.Global.Claims do
  @moduledoc false
  # Which of several claims to one name counts, the same on every node: of those with a fencing token the one with the
  # greatest, else the oldest.

  @doc "The claim that counts, and the others."
  def winner([claim]), do: {claim, []}

  def winner(claims) do
    [first | rest] = Enum.sort_by(claims, &rank/1)
    {first, rest}
  end

  defp rank({pid, _metadata, _stamp, token}) when is_integer(token), do: {0, -token, node(pid)}
  defp rank({pid, _metadata, stamp, nil}), do: {1, stamp, node(pid)}

  @doc "Whether that is for somebody to decide: neither has a token."
  def open?({_, _, _, nil}, {_, _, _, nil}), do: true
  def open?(_one, _other), do: false

  @doc "What is shown of a claim."
  def entry(key, {pid, metadata, stamp, token}), do: entry({key, pid, metadata, stamp, token})

  def entry({{scope, name}, pid, metadata, stamp, nil}),
    do: entry(scope, name, pid, metadata, stamp, :crdt, nil)

  def entry({{scope, name}, pid, metadata, stamp, token}),
    do: entry(scope, name, pid, metadata, stamp, :consensus, token)

  defp entry(scope, name, pid, metadata, stamp, consistency, token) do
    %{
      scope: scope,
      name: name,
      pid: pid,
      node: node(pid),
      metadata: metadata,
      consistency: consistency,
      fencing_token: token,
      registered_at: stamp
    }
  end

  def claim({_key, pid, metadata, stamp, token}), do: {pid, metadata, stamp, token}

  @doc "The node that a claim is of, by the name that it has now."
  def origin({pid, _metadata, _stamp, _token}), do: node(pid)
end
