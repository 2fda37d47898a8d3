defmodule Foundation.MABEAM.Agent.Account do
  @moduledoc false
  # Who runs the present callback, for whom, until when, and what it has spent: in the dictionary of the agent's process,
  # where the functions that a callback calls find it.

  alias Foundation.MABEAM.Agent.Gate

  @agent :mabeam_agent
  @request :mabeam_request
  @spent :mabeam_spent
  @deepest 16
  @most 2 ** 53

  @doc "Makes the process that of an agent."
  @spec open(term, Gate.totals(), map) :: :ok
  def open(id, totals, resources) do
    Process.put(@agent, {id, totals, resources[:tokens], resources[:money]})
    :ok
  end

  @doc "The agent whose process this is, or nil."
  @spec agent() :: term | nil
  def agent do
    case Process.get(@agent) do
      nil -> nil
      {id, _totals, _tokens, _money} -> id
    end
  end

  @doc "A callback begins."
  @spec begin(integer | :infinity, list) :: :ok
  def begin(deadline, chain) do
    Process.put(@request, {deadline, chain})
    Process.delete(@spent)
    :ok
  end

  @doc "It ended: what it spent, nil for nothing."
  @spec finish() :: {non_neg_integer, non_neg_integer} | nil
  def finish do
    Process.delete(@request)
    Process.delete(@spent)
  end

  @doc "Until when the present callback's answer is waited for (monotonic ms), and through which agents the request came."
  @spec request() :: {integer | :infinity, list}
  def request, do: Process.get(@request, {:infinity, []})

  @doc "The agents that a request from here to `id` has come through, or why it must not be made."
  @spec chain(term) :: {:ok, list} | {:error, {:cycle, list} | :too_deep}
  def chain(id) do
    {_deadline, before} = request()
    own = agent()
    chain = if own == nil, do: before, else: before ++ [own]

    cond do
      id in chain -> {:error, {:cycle, chain ++ [id]}}
      length(chain) >= @deepest -> {:error, :too_deep}
      true -> {:ok, chain}
    end
  end

  @doc "Counts a cost of this agent's own, against its budget."
  @spec spend(non_neg_integer, non_neg_integer) ::
          :ok | {:error, :not_in_callback | {:budget, :tokens | :money}}
  def spend(tokens, money) do
    with {_id, totals, most_tokens, most_money} <- Process.get(@agent, {:error, :not_in_callback}),
         :ok <- Gate.spend(totals, :tokens, tokens, most_tokens) do
      case Gate.spend(totals, :money, money, most_money) do
        :ok ->
          add(tokens, money)

        :refused ->
          if tokens > 0, do: Gate.refund(totals, :tokens, tokens)
          {:error, {:budget, :money}}
      end
    else
      :refused -> {:error, {:budget, :tokens}}
      error -> error
    end
  end

  @doc "Adds what somebody asked by this callback has spent; it is passed on to who asked for the callback."
  @spec add(non_neg_integer, non_neg_integer) :: :ok
  def add(0, 0), do: :ok

  def add(tokens, money) do
    {t, m} = Process.get(@spent, {0, 0})
    Process.put(@spent, {t + tokens, m + money})
    :ok
  end

  @doc "Whether it is an amount that can be spent at once."
  defguard is_amount(term) when is_integer(term) and term >= 0 and term <= @most
end
