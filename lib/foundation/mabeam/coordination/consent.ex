defmodule Foundation.MABEAM.Coordination.Consent do
  @moduledoc false
  # How a negotiation ends: all have to accept the deal that was found. A protocol's state has the deal under `:deal`, what
  # the outcome tells of it under `:detail`, and who has said what under `:accepted`, a map.

  alias Foundation.MABEAM.{Protocol, Types}

  @doc "Takes what an agent says of the deal."
  @spec answer(Types.agent_id(), term, map) :: {:ok, map} | {:invalid, atom, map}
  def answer(id, :accept, state), do: {:ok, put_in(state.accepted[id], true)}
  def answer(id, {:reject, _why}, state), do: {:ok, put_in(state.accepted[id], false)}
  def answer(_id, _other, state), do: {:invalid, :not_an_answer, state}

  @doc "The deal when all of `agents` have accepted it; else the first of them that has not says how it failed."
  @spec decide(Protocol.report(), [Types.agent_id()], map) ::
          {:decided, term, map, map} | {:failed, atom, map, map}
  def decide(report, agents, state) do
    case Enum.find(agents, &(state.accepted[&1] != true)) do
      nil -> {:decided, state.deal, Map.put(state.detail, :confidence, 1.0), state}
      id when is_map_key(state.accepted, id) -> failed(:rejected, id, report, state)
      id -> failed(:broken_off, id, report, state)
    end
  end

  @doc "No deal because of this agent."
  @spec failed(:rejected | :broken_off, Types.agent_id(), Protocol.report(), map) :: {:failed, atom, map, map}
  def failed(reason, id, report, state) do
    why = Map.get(report.failures, id, if(reason == :broken_off, do: :abstained))
    {:failed, reason, Map.merge(state.detail, %{by: id, why: why}), state}
  end
end
