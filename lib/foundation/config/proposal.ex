defmodule Foundation.Config.Proposal do
  @moduledoc false
  # A change that waits for the subscribers who may veto it. Pure: the server sends and receives.

  alias Foundation.Config.Change
  alias Foundation.Types.{Config, Error}

  @enforce_keys [:ref, :from, :config, :changes, :voters, :on_silence, :note]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          ref: reference,
          from: GenServer.from(),
          config: Config.t(),
          changes: [Change.t()],
          voters: MapSet.t(pid),
          on_silence: :accept | :veto,
          note: term
        }

  @type verdict :: :waiting | :agreed | {:vetoed, pid, term}

  @max_deadline 60_000

  @doc "Whether these are options of a subscription or an update."
  @spec options?(term) :: boolean
  def options?(opts) do
    Keyword.keyword?(opts) and Enum.all?(opts, &option?/1)
  end

  defp option?({:veto, value}), do: is_boolean(value)
  defp option?({:deadline, ms}), do: is_integer(ms) and ms in 1..@max_deadline
  defp option?({:on_silence, value}), do: value in [:accept, :veto]
  defp option?({:note, _}), do: true
  defp option?(_), do: false

  @doc "Whether these are paths with values."
  @spec pairs?(term) :: boolean
  def pairs?(pairs) do
    is_list(pairs) and not List.improper?(pairs) and
      Enum.all?(pairs, &match?({path, _} when is_list(path), &1))
  end

  @doc "The longest a subscriber may take, in milliseconds."
  @spec max_deadline() :: pos_integer
  def max_deadline, do: @max_deadline

  @doc "What a subscriber's answer, silence or death makes of the proposal."
  @spec hear(t, pid, :accept | {:veto, term} | :silent | :gone) :: {verdict, t}
  def hear(proposal, pid, answer) do
    cond do
      not MapSet.member?(proposal.voters, pid) ->
        {:waiting, proposal}

      match?({:veto, _}, answer) ->
        {{:vetoed, pid, elem(answer, 1)}, proposal}

      answer == :silent and proposal.on_silence == :veto ->
        {{:vetoed, pid, :no_answer}, proposal}

      true ->
        voters = MapSet.delete(proposal.voters, pid)
        {if(MapSet.size(voters) == 0, do: :agreed, else: :waiting), %{proposal | voters: voters}}
    end
  end

  @doc "The error of a vetoed change."
  @spec vetoed(t, pid, term) :: Error.t()
  def vetoed(proposal, by, reason) do
    Error.new(
      code: 1006,
      error_type: :config_update_vetoed,
      message: "Configuration update was vetoed by a subscriber",
      context: %{paths: Enum.map(proposal.changes, & &1.path), by: by, reason: reason},
      severity: :medium,
      category: :config,
      subcategory: :runtime
    )
  end
end
