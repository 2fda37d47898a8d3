# What strategies written for libcluster call, for those who use them without libcluster. See Foundation.Cluster.Compat.
unless is_list(:code.lib_dir(:libcluster)) do
  defmodule Cluster.Strategy.State do
    @moduledoc false

    @type t :: %__MODULE__{
            topology: atom,
            connect: {module, atom, [term]},
            disconnect: {module, atom, [term]},
            list_nodes: {module, atom, [term]},
            meta: term,
            config: keyword
          }

    @derive {Inspect, except: [:config, :meta]}
    defstruct topology: nil, connect: nil, disconnect: nil, list_nodes: nil, meta: nil, config: []
  end

  defmodule Cluster.Logger do
    @moduledoc false

    require Logger

    def debug(topology, text) do
      if Application.get_env(:libcluster, :debug, false) in [nil, false, "false"],
        do: :ok,
        else: Logger.debug(line(topology, text))
    end

    def info(topology, text), do: Logger.info(line(topology, text))
    def warn(topology, text), do: Logger.warning(line(topology, text))
    def error(topology, text), do: Logger.error(line(topology, text))

    defp line(topology, text), do: "[cluster:#{topology}] #{text}"
  end

  defmodule Cluster.Strategy do
    @moduledoc false

    @type topology :: atom
    @type bad_nodes :: [{node, reason :: term}]
    @type mfa_tuple :: {module, atom, [term]}
    @type strategy_args :: [Cluster.Strategy.State.t()]

    @callback child_spec(strategy_args) :: Supervisor.child_spec()
    @callback start_link(strategy_args) :: {:ok, pid} | :ignore | {:error, reason :: term}

    defmacro __using__(_opts) do
      quote do
        @behaviour Cluster.Strategy

        @impl true
        def child_spec(args), do: %{id: __MODULE__, type: :worker, start: {__MODULE__, :start_link, [args]}}

        defoverridable child_spec: 1
      end
    end

    @spec connect_nodes(topology, mfa_tuple, mfa_tuple, [node]) :: :ok | {:error, bad_nodes}
    defdelegate connect_nodes(topology, connect, list_nodes, nodes), to: Foundation.Cluster.Strategy

    @spec disconnect_nodes(topology, mfa_tuple, mfa_tuple, [node]) :: :ok | {:error, bad_nodes}
    defdelegate disconnect_nodes(topology, disconnect, list_nodes, nodes), to: Foundation.Cluster.Strategy
  end
end
