defmodule Foundation.MABEAM.Answers do
  @moduledoc false
  # What commands were answered, by the id that came with each: one that comes again under its id does nothing and is
  # answered as it was the first time, refusals too. Of the last 50,000. Pure.

  alias Foundation.MABEAM.Recent

  @most 50_000
  @hashes 4_294_967_296

  @type t :: Recent.t()

  @spec new() :: t
  def new, do: Recent.new(@most)

  @doc """
  Runs a command once for its id: its answer, and what it has made of the state. Without an id it runs each time. An id
  that another command had is `{:error, :id_reused}`.
  """
  @spec once(t, term, term, state, (() -> {answer, state})) :: {answer | {:error, :id_reused}, t, state}
        when answer: term, state: term
  def once(answers, nil, _command, _state, run) do
    {answer, state} = run.()
    {answer, answers, state}
  end

  def once(answers, id, command, state, run) do
    hash = :erlang.phash2(command, @hashes)

    case Recent.fetch(answers, id) do
      {:ok, {^hash, answer}} ->
        {answer, answers, state}

      {:ok, _other} ->
        {{:error, :id_reused}, answers, state}

      :error ->
        {answer, state} = run.()
        {answer, Recent.put_new(answers, id, {hash, answer}), state}
    end
  end
end
