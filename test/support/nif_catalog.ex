defmodule Foundation.NifCatalog do
  @moduledoc false
  # What every native function promises: its scheduler, the bound on its work, and arguments that it takes.
  #
  # One module a domain, each with entries/0. The table in guides/scheduling.md, the hostile-input test and the soak
  # test are made from these entries; a test fails when a function of Foundation.Native is missing here.

  @type entry :: %{
          required(:nif) => {atom, arity},
          required(:scheduler) => :normal | :dirty_cpu | :dirty_io,
          # What bounds the work, in words: "O(1)", "O(dimensions), at most 16", …
          required(:bound) => String.t(),
          # Fresh, valid arguments. Called before each measurement series; the arguments are then reused, unless `consumes`.
          required(:args) => (() -> [term]),
          # Called from 8 processes at once by the soak test.
          optional(:hot) => boolean,
          # A call uses its arguments up (settles a reservation, say): each measured call gets fresh ones.
          optional(:consumes) => boolean,
          # Left out of the hostile-input test and of the measurement (a function whose purpose is to raise, say).
          optional(:skip) => boolean
        }

  @domains [
    Foundation.NifCatalog.Engine,
    Foundation.NifCatalog.Limits,
    Foundation.NifCatalog.Breakers,
    Foundation.NifCatalog.Metrics,
    Foundation.NifCatalog.Events,
    Foundation.NifCatalog.Fabric,
    Foundation.NifCatalog.Federation,
    Foundation.NifCatalog.Discovery,
    Foundation.NifCatalog.Topology,
    Foundation.NifCatalog.Crdt,
    Foundation.NifCatalog.Consensus,
    Foundation.NifCatalog.Market
  ]

  @spec entries() :: [entry]
  def entries do
    for module <- @domains, Code.ensure_loaded?(module), entry <- module.entries(), do: entry
  end
end
