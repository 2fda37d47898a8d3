defmodule Foundation.Distributed.Partitions.Policy do
  @moduledoc false
  # Which side of a split works on: a pure decision from what one side sees. Two sides that see the same whole and
  # opposite halves of it never both work on, except by `:none`.

  @type view :: %{here: [node], lost: [node], boots: %{node => integer | nil}}
  @type t :: :none | :majority | :oldest | {:quorum, pos_integer} | {:referee, node}
  @type verdict :: {:active | :paused, reason :: term}

  @doc "Whether the side that `view.here` makes up works on."
  @spec decide(t, view) :: verdict
  def decide(_policy, %{lost: []}), do: {:active, :whole}
  def decide(:none, _view), do: {:active, :no_policy}

  def decide({:quorum, wanted}, %{here: here}) do
    if length(here) >= wanted,
      do: {:active, {:quorum, length(here), wanted}},
      else: {:paused, {:quorum, length(here), wanted}}
  end

  def decide({:referee, node}, %{here: here}),
    do: if(node in here, do: {:active, {:referee, node}}, else: {:paused, {:referee, node}})

  def decide(:oldest, view) do
    oldest = oldest(view)
    if oldest in view.here, do: {:active, {:oldest, oldest}}, else: {:paused, {:oldest, oldest}}
  end

  def decide(:majority, %{here: here, lost: lost}) do
    reason = {:majority, length(here), length(here) + length(lost)}

    cond do
      length(here) > length(lost) -> {:active, reason}
      length(here) < length(lost) -> {:paused, reason}
      # Two halves: the one that has the name which sorts first.
      Enum.min(here) < Enum.min(lost) -> {:active, {:tie, Enum.min(here)}}
      true -> {:paused, {:tie, Enum.min(lost)}}
    end
  end

  # The node that has run longest; one that never said since when counts as young, and names decide between equals.
  defp oldest(%{here: here, lost: lost, boots: boots}),
    do: Enum.min_by(here ++ lost, &{boots[&1] || :unknown, &1})
end
