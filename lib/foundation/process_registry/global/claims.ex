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

  defp rank({_pid, _metadata, _stamp, origin, token}) when is_integer(token), do: {0, -token, origin}
  defp rank({_pid, _metadata, stamp, origin, nil}), do: {1, stamp, origin}

  @doc "Whether that is for somebody to decide: neither has a token."
  def open?({_, _, _, _, nil}, {_, _, _, _, nil}), do: true
  def open?(_one, _other), do: false

  @doc "What is shown of a claim."
  def entry({scope, name}, {pid, metadata, stamp, origin, token}) do
    %{
      scope: scope,
      name: name,
      pid: pid,
      node: origin,
      metadata: metadata,
      consistency: if(token, do: :consensus, else: :crdt),
      fencing_token: token,
      registered_at: stamp
    }
  end

  def claim({_key, pid, metadata, stamp, origin, token}), do: {pid, metadata, stamp, origin, token}
end
