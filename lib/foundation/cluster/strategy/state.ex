defmodule Foundation.Cluster.Strategy.State do
  @moduledoc """
  What a strategy is started with, field for field what libcluster's `Cluster.Strategy.State` holds.

  `topology` names the strategy in logs and in `Foundation.Cluster.info/0`; `connect`, `disconnect` and `list_nodes` are
  `{module, function, arguments}`, the first two called with the node added at the end; `config` is the strategy's own
  options; `meta` is for the strategy to use as it likes.
  """

  @type t :: %__MODULE__{
          topology: atom,
          connect: {module, atom, [term]},
          disconnect: {module, atom, [term]},
          list_nodes: {module, atom, [term]},
          meta: term,
          config: keyword
        }

  # Both may hold secrets.
  @derive {Inspect, except: [:config, :meta]}
  defstruct topology: nil,
            connect: nil,
            disconnect: nil,
            list_nodes: nil,
            meta: nil,
            config: []
end
