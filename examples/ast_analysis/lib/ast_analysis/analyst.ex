defmodule AstAnalysis.Analyst do
  @moduledoc """
  Knows one group of modules: the agent.

  It bids for blocks of modules, takes over what it is given, analyses it, and answers questions about it. What it owns is
  its snapshot: files, digests and blocks. What it has found out about them is not, because it can be found out again, and is
  when it begins a new life on another node.
  """

  use Foundation.MABEAM.Agent

  alias AstAnalysis.{Bundles, Parser}

  @impl true
  def init(%{number: number, of: count}) do
    {:ok, %{number: number, of: count, blocks: %{}, owned: %{}, facts: %{}}}
  end

  @impl true
  def snapshot(analyst), do: Map.take(analyst, [:blocks, :owned])

  @impl true
  def restore(kept, args) do
    {:ok, analyst} = init(args)
    {:ok, Map.merge(analyst, kept)}
  end

  # -- getting work --------------------------------------------------------------------------------------------------

  @impl true
  def handle_bid_request(%{auction: :combinatorial, data: market}, analyst) do
    case Bundles.offers(market, analyst.number, analyst.of) do
      [] -> {:no_bid, analyst}
      offers -> {:bid, offers, analyst}
    end
  end

  # Who has less to do asks less, and so does who has what the block calls.
  def handle_bid_request({:adopt, %{bytes: bytes, links: links}}, analyst) do
    load = analyst.blocks |> Map.values() |> Enum.sum()
    kept = Bundles.saved(links, Map.keys(analyst.blocks))
    {:bid, max(load + bytes - kept, 0), analyst}
  end

  # -- working -------------------------------------------------------------------------------------------------------

  @impl true
  def handle_task({:adopt, %{name: name, bytes: bytes}}, analyst),
    do: {:ok, :adopted, put_in(analyst.blocks[name], bytes)}

  # Doing it twice does no harm: what is known of this version of a module stays.
  def handle_task({:analyse, sources}, analyst) do
    analyst = Enum.reduce(sources, analyst, &own/2)
    {:ok, Enum.map(sources, &summary(&1, analyst.facts[&1.module])), analyst}
  end

  def handle_task({:forget, modules}, analyst) do
    {:ok, :forgotten,
     %{analyst | owned: Map.drop(analyst.owned, modules), facts: Map.drop(analyst.facts, modules)}}
  end

  def handle_task({:ask, question}, analyst) do
    analyst = analyst.owned |> Map.values() |> Enum.reduce(analyst, &own/2)
    {:ok, answer(question, analyst), analyst}
  end

  defp own(%{module: module, digest: digest} = source, analyst) do
    case analyst do
      %{owned: %{^module => %{digest: ^digest}}, facts: %{^module => _known}} ->
        analyst

      _new_or_changed ->
        owned = Map.put(analyst.owned, module, source)
        %{analyst | owned: owned, facts: Map.put(analyst.facts, module, Parser.read(source.path))}
    end
  end

  defp summary(source, {:error, reason}), do: %{module: source.module, digest: source.digest, error: reason}

  defp summary(source, {:ok, %{functions: functions}}) do
    %{
      module: source.module,
      digest: source.digest,
      functions: length(functions),
      points: functions |> Enum.map(&length(&1.points)) |> Enum.sum(),
      calls: functions |> Enum.map(&length(&1.calls)) |> Enum.sum(),
      complexity: functions |> Enum.map(& &1.complexity) |> Enum.sum()
    }
  end

  # -- answering -----------------------------------------------------------------------------------------------------

  defp answer(:modules, analyst), do: Map.keys(analyst.owned)

  defp answer({:callers, mfa}, analyst) do
    for function <- functions(analyst), {^mfa, line} <- function.calls, do: {function.mfa, line}
  end

  defp answer({:callees, mfas}, analyst) do
    for function <- functions(analyst), function.mfa in mfas, into: %{} do
      {function.mfa, function.calls |> Enum.map(&elem(&1, 0)) |> Enum.uniq()}
    end
  end

  defp answer({:points, module}, analyst) do
    with {:ok, facts} <- Map.get(analyst.facts, module, {:error, :unknown_module}) do
      {:ok, for(function <- facts.functions, do: {function.mfa, function.points})}
    end
  end

  defp answer({:most_complex, count}, analyst) do
    analyst
    |> functions()
    |> Enum.sort_by(&{-&1.complexity, &1.mfa})
    |> Enum.take(count)
    |> Enum.map(&{&1.mfa, &1.complexity})
  end

  defp functions(analyst) do
    for {_module, {:ok, facts}} <- analyst.facts, function <- facts.functions, do: function
  end
end
