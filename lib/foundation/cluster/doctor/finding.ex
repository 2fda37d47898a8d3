defmodule Foundation.Cluster.Doctor.Finding do
  @moduledoc false
  # One thing the doctor looked at: what it is, how bad, in plain words, and what to change. `cause` tells findings of one
  # check apart for programs.

  @type t :: %{
          check: atom,
          cause: atom,
          status: :ok | :warning | :error,
          says: String.t(),
          change: String.t() | nil
        }

  @spec ok(atom, String.t()) :: t
  def ok(check, says), do: %{check: check, cause: :none, status: :ok, says: says, change: nil}

  @spec warning(atom, atom, String.t(), String.t()) :: t
  def warning(check, cause, says, change),
    do: %{check: check, cause: cause, status: :warning, says: says, change: change}

  @spec error(atom, atom, String.t(), String.t()) :: t
  def error(check, cause, says, change),
    do: %{check: check, cause: cause, status: :error, says: says, change: change}
end
