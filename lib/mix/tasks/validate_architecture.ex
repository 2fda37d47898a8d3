defmodule Mix.Tasks.ValidateArchitecture do
  @shortdoc "Checks that calls between the modules of this project go down only"
  @moduledoc """
  Checks, from the compiled modules, that calls go down only.

      mix validate_architecture

  Every module stands on a floor, found by its name in `floors/0`. A remote call or a captured remote function may go to
  a lower floor or stay within its domain; between two domains of one floor it may go only where `neighbours/0` says
  so, and these pairs may not form a circle. `Foundation.Native` is called only by the modules that `native_callers/0`
  names. Calls made by `apply/3` on a module found at run time are not seen, and such calls are only made to
  modules that are not part of this project.
  """

  use Mix.Task

  # {floor, [{domain, prefixes}]} from the bottom up. The longest prefix that fits decides.
  @floors [
    native: [native: ["Foundation.Native"]],
    engine: [engine: ["Foundation.Engine"]],
    core: [
      types: ["Foundation.Types"],
      utils: ["Foundation.Utils"],
      # What a request is about, from the ground up: events and errors ask for its trace.
      context: ["Foundation.Distributed.Context"],
      contracts: ["Foundation.Contracts"],
      registry: ["Foundation.ProcessRegistry"],
      validation: ["Foundation.Validation"],
      logic: ["Foundation.Logic", "Foundation.Config.Guard"],
      # Whom to ask in the cluster; who carries the question stands above.
      peers: ["Foundation.Peers"],
      clocks: ["Foundation.VectorClock"],
      # Where everyone reads the configuration; what changes it stands above.
      snapshot: ["Foundation.Config.Snapshot"]
    ],
    services: [
      error: ["Foundation.Error", "Foundation.ErrorContext"],
      telemetry: ["Foundation.Telemetry", "Foundation.Services.TelemetryService"],
      events: ["Foundation.Events", "Foundation.Services.EventStore"],
      config: [
        "Foundation.Config.Change",
        "Foundation.Config.Conceal",
        "Foundation.Config.History",
        "Foundation.Config.Overlay",
        "Foundation.Config.Proposal",
        "Foundation.Config.Registration",
        "Foundation.Config.Schema",
        "Foundation.Services.ConfigServer",
        "Inspect.Foundation.Types.Config"
      ],
      infrastructure: ["Foundation.Infrastructure"],
      lifecycle: ["Foundation.ProcessLifecycle", "Foundation.HealthCheck"]
    ],
    beam: [
      beam: ["Foundation.BEAM"],
      integrations: ["Foundation.Integrations", "Foundation.TidewaveEndpoint"]
    ],
    cluster: [
      cluster: ["Foundation.Cluster", "Cluster", "Inspect.Cluster"],
      distributed: [
        "Foundation.Distributed",
        "Foundation.DistributedState",
        "Foundation.DistributedSupervisor",
        "Foundation.Coordination",
        "Foundation.BEAM.Distribution"
      ],
      # The door of the configuration, this node's and the cluster's.
      configuration: ["Foundation.Config"],
      mesh: ["Foundation.ServiceRegistry", "Foundation.ServiceMesh"],
      shared_limits: ["Foundation.Infrastructure.Limits.Cluster"]
    ],
    ecosystems: [ecosystems: ["Foundation.Ecosystems"]],
    agents: [mabeam: ["Foundation.MABEAM"], intelligence: ["Foundation.Intelligence"]],
    facade: [facade: ["Foundation", "foundation"]],
    application: [application: ["Foundation.Application"]],
    top: [
      tasks: ["Mix.Tasks", "Foundation.Demo"],
      test_support: ["Foundation.TestSupport", "Foundation.Test"]
    ]
  ]

  @type call :: {caller :: module, callee :: mfa}
  @type problem :: String.t()

  @doc "The floors from the bottom up, each with its domains and the module names they begin with."
  @spec floors() :: [{atom, [{atom, [String.t()]}]}]
  def floors, do: @floors

  @doc "Which domains of one floor may call which others of it."
  @spec neighbours() :: [{atom, [atom]}]
  def neighbours do
    [
      contracts: [:types],
      registry: [:types],
      validation: [:types, :utils],
      context: [:utils],
      logic: [:types, :utils, :validation, :context],
      snapshot: [:types, :logic],
      error: [:telemetry],
      events: [:error, :telemetry],
      config: [:error, :events, :telemetry],
      infrastructure: [:error, :telemetry, :events, :config],
      lifecycle: [:telemetry],
      distributed: [:cluster],
      configuration: [:distributed, :cluster],
      mesh: [:distributed],
      shared_limits: [:distributed],
      intelligence: [:mabeam]
    ]
  end

  @doc "The module names whose modules may call `Foundation.Native`."
  @spec native_callers() :: [String.t()]
  def native_callers do
    ~w(Foundation.Engine Foundation.Telemetry Foundation.Services.TelemetryService Foundation.Events
       Foundation.Services.EventStore Foundation.Infrastructure Foundation.Cluster.Strategy.Mdns Foundation.Cluster.Federation
       Foundation.Distributed Foundation.MABEAM.Coordination Foundation.MABEAM.Core.Optimizer)
  end

  @impl Mix.Task
  def run(_args) do
    Mix.Task.run("compile")
    modules = project_modules()

    case modules |> Map.new(&{&1, calls(&1)}) |> problems() do
      [] ->
        Mix.shell().info("#{length(modules)} modules: every call goes down")

      problems ->
        Mix.raise(
          "#{length(problems)} breaches of the architecture:\n" <>
            Enum.map_join(problems, "\n", &("  " <> &1))
        )
    end
  end

  # The modules compiled from lib/, without those of test/support.
  defp project_modules do
    for beam <- Path.wildcard(Path.join(Mix.Project.compile_path(), "*.beam")),
        module = beam |> Path.basename(".beam") |> String.to_atom(),
        Code.ensure_loaded?(module),
        not (module.module_info(:compile)[:source] |> to_string() |> String.contains?("/test/support/")),
        do: module
  end

  @doc "The remote calls and captures in a module's compiled code, by its import table and its literals."
  @spec calls(module) :: [mfa]
  def calls(module) when is_atom(module) do
    {^module, beam, _} = :code.get_object_code(module)
    calls(beam)
  end

  def calls(beam) when is_binary(beam) do
    {:ok, {_, [imports: imports]}} = :beam_lib.chunks(beam, [:imports])
    Enum.uniq(imports ++ captures(beam))
  end

  # &Module.fun/1 is no import but a literal.
  defp captures(beam) do
    case :beam_lib.chunks(beam, [~c"LitT"], [:allow_missing_chunks]) do
      {:ok, {_, [{_, chunk}]}} when is_binary(chunk) ->
        chunk |> literals() |> Enum.flat_map(&functions(&1, []))

      _ ->
        []
    end
  end

  # Since OTP 28 the table may be stored as it is, with a size of 0.
  defp literals(<<0::32, table::binary>>), do: table |> terms()
  defp literals(<<_size::32, compressed::binary>>), do: compressed |> :zlib.uncompress() |> terms()

  defp terms(<<count::32, rest::binary>>), do: terms(count, rest)
  defp terms(0, _rest), do: []

  defp terms(count, <<size::32, term::binary-size(size), rest::binary>>),
    do: [:erlang.binary_to_term(term) | terms(count - 1, rest)]

  defp functions(fun, found) when is_function(fun) do
    case :erlang.fun_info(fun, :type) do
      {:type, :external} ->
        {:module, module} = :erlang.fun_info(fun, :module)
        {:name, name} = :erlang.fun_info(fun, :name)
        {:arity, arity} = :erlang.fun_info(fun, :arity)
        [{module, name, arity} | found]

      _ ->
        found
    end
  end

  defp functions([head | tail], found), do: functions(tail, functions(head, found))
  defp functions(tuple, found) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> functions(found)
  defp functions(map, found) when is_map(map), do: map |> Map.to_list() |> functions(found)
  defp functions(_other, found), do: found

  @doc "What is wrong with a call graph: one sentence each, none when all is well."
  @spec problems(%{module => [mfa]}) :: [problem]
  def problems(graph) do
    modules = graph |> Map.keys() |> Enum.sort()
    known = MapSet.new(modules)

    homeless = for module <- modules, place(module) == nil, do: "#{inspect(module)} stands on no floor"

    calls =
      for module <- modules,
          {callee, _, _} = mfa <- Enum.sort(graph[module]),
          callee != module and MapSet.member?(known, callee),
          do: {module, mfa}

    homeless ++ Enum.flat_map(calls, &breach/1) ++ circles(calls)
  end

  defp breach({caller, {callee, name, arity}}) do
    text = "#{inspect(caller)} calls #{inspect(callee)}.#{name}/#{arity}"

    case {place(caller), place(callee)} do
      {nil, _} -> []
      {_, nil} -> []
      {{_, domain}, {_, domain}} -> []
      {_, {_, :native}} -> if native_caller?(caller), do: [], else: [text <> ", which is not its to call"]
      {{a, domain}, {a, other}} -> if neighbour?(domain, other), do: [], else: [text <> ", across its floor"]
      {{a, _}, {b, _}} when a > b -> []
      _ -> [text <> ", which is above it"]
    end
  end

  # The list of neighbours must itself be free of circles, as must be the calls between domains.
  defp circles(calls) do
    used =
      for {caller, {callee, _, _}} <- calls,
          {_, from} <- [place(caller)],
          {_, to} <- [place(callee)],
          from != to,
          uniq: true,
          do: {from, to}

    allowed = for {from, others} <- neighbours(), to <- others, do: {from, to}
    graph = :digraph.new()

    for {from, to} <- Enum.uniq(used ++ allowed) do
      :digraph.add_vertex(graph, from)
      :digraph.add_vertex(graph, to)
      :digraph.add_edge(graph, from, to)
    end

    found = :digraph_utils.cyclic_strong_components(graph)
    :digraph.delete(graph)

    for domains <- found,
        do: "the domains #{domains |> Enum.sort() |> Enum.join(", ")} call each other in a circle"
  end

  defp neighbour?(domain, other), do: other in Keyword.get(neighbours(), domain, [])
  defp native_caller?(module), do: Enum.any?(native_callers(), &below?(name(module), &1))

  # An implementation of a protocol belongs to the type that it is for, unless a floor names it.
  defp place(module) do
    name = name(module)
    highest(name) || highest(String.replace(name, ~r/^.*\.(?=Foundation\.)/, ""))
  end

  defp highest(name) do
    places =
      for {{_floor, domains}, height} <- Enum.with_index(@floors),
          {domain, prefixes} <- domains,
          prefix <- prefixes,
          below?(name, prefix),
          do: {byte_size(prefix), {height, domain}}

    case Enum.max(places, fn -> nil end) do
      nil -> nil
      {_length, place} -> place
    end
  end

  # "Foundation" itself is a name, not the prefix of every other.
  defp below?(name, "Foundation"), do: name == "Foundation"
  defp below?(name, prefix), do: name == prefix or String.starts_with?(name, prefix <> ".")

  defp name(module), do: module |> Atom.to_string() |> String.replace_prefix("Elixir.", "")
end
