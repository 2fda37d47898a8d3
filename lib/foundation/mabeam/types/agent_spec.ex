defmodule Foundation.MABEAM.Types.AgentSpec do
  @moduledoc """
  Says what an agent is: its module, what it can do, what it may spend and how it is started again.

  | field | default | |
  |---|---|---|
  | `id` | required | atom or string |
  | `module` | required | implements `Foundation.MABEAM.Agent` |
  | `args` | `nil` | what `init/1` gets; serialisable |
  | `type` | `:worker` | an atom of yours, also a tag of the telemetry |
  | `capabilities` | `[]` | atoms, for `Foundation.MABEAM.AgentRegistry.find_agents/1` and access to variables |
  | `restart` | `:permanent` | or `:transient` (after a failure only), `:temporary` (never) |
  | `max_restarts`, `restart_window` | 5, 60,000 ms | more within that time, and the agent stays `:failed` |
  | `backoff` | `{50, 5_000}` | ms before the first restart, doubled each time, and the most |
  | `resources` | `%{}` | `tokens:` and `money:` (millionths) that it may spend in all |
  | `max_mailbox` | 1,000 | requests waiting; more are answered `{:error, :busy}` |
  | `callback_timeout` | 5,000 ms | how long a callback may take until the agent is killed; or `:infinity` |
  | `max_failures` | 3 | callbacks failing in a row until the agent is started anew |
  | `snapshot_every` | `nil` | callbacks after which the agent's `snapshot/1` is kept |
  | `placement` | `:node` | `:cluster` for one that `Foundation.MABEAM.AgentRegistry.place_agent/3` has placed: its snapshots go to all nodes |
  | `metadata` | `%{}` | a map of yours; serialisable |
  """

  alias Foundation.MABEAM.Types
  alias Foundation.MABEAM.Types.Fields

  @enforce_keys [:id, :module]
  defstruct [
    :id,
    :module,
    :args,
    type: :worker,
    capabilities: [],
    restart: :permanent,
    max_restarts: 5,
    restart_window: 60_000,
    backoff: {50, 5_000},
    resources: %{},
    max_mailbox: 1_000,
    callback_timeout: 5_000,
    max_failures: 3,
    snapshot_every: nil,
    placement: :node,
    metadata: %{}
  ]

  @type t :: %__MODULE__{
          id: Types.agent_id(),
          module: module,
          args: term,
          type: atom,
          capabilities: [atom],
          restart: :permanent | :transient | :temporary,
          max_restarts: non_neg_integer,
          restart_window: pos_integer,
          backoff: {pos_integer, pos_integer},
          resources: %{optional(:tokens) => non_neg_integer, optional(:money) => non_neg_integer},
          max_mailbox: pos_integer,
          callback_timeout: timeout,
          max_failures: pos_integer,
          snapshot_every: pos_integer | nil,
          placement: :node | :cluster,
          metadata: map
        }

  @doc "A spec of a map or keyword list. O(size of `args` and `metadata`)."
  @spec new(map | keyword) :: {:ok, t} | {:error, {:invalid, map}}
  def new(attributes), do: Fields.build(__MODULE__, attributes, rules())

  @doc "As `new/1`; raises ArgumentError."
  @spec new!(map | keyword) :: t
  def new!(attributes), do: Fields.build!(__MODULE__, attributes, rules())

  defp rules do
    [
      {:id, :required, &Types.agent_id?/1, "an atom or a string of 1 to 255 bytes"},
      {:module, :required, &module?/1, "a module"},
      {:args, nil, &Types.serialisable?/1, "serialisable (no pid, port, reference or anonymous function)"},
      {:type, :worker, &module?/1, "an atom"},
      {:capabilities, [], &capabilities?/1, "a list of atoms"},
      {:restart, :permanent, &(&1 in [:permanent, :transient, :temporary]),
       ":permanent, :transient or :temporary"},
      {:max_restarts, 5, &natural?/1, "a whole number from 0"},
      {:restart_window, 60_000, &positive?/1, "a whole number of ms from 1"},
      {:backoff, {50, 5_000}, &backoff?/1, "{least, most} in ms, from 1"},
      {:resources, %{}, &resources?/1, "a map of tokens: and money:, whole numbers from 0"},
      {:max_mailbox, 1_000, &positive?/1, "a whole number from 1"},
      {:callback_timeout, 5_000, &(positive?(&1) or &1 == :infinity), "a whole number of ms or :infinity"},
      {:max_failures, 3, &positive?/1, "a whole number from 1"},
      {:snapshot_every, nil, &(positive?(&1) or &1 == nil), "a whole number from 1, or nil"},
      {:placement, :node, &(&1 in [:node, :cluster]), ":node or :cluster"},
      {:metadata, %{}, &(is_map(&1) and Types.serialisable?(&1)), "a serialisable map"}
    ]
  end

  defp module?(term), do: is_atom(term) and term not in [nil, true, false]
  defp natural?(term), do: is_integer(term) and term >= 0
  defp positive?(term), do: is_integer(term) and term > 0

  defp capabilities?(list) when is_list(list),
    do: not List.improper?(list) and Enum.all?(list, &is_atom/1)

  defp capabilities?(_other), do: false

  defp backoff?({least, most}), do: positive?(least) and positive?(most) and least <= most
  defp backoff?(_other), do: false

  # Beyond 2^62 sums would leave the counters.
  defp resources?(%{} = map) do
    not is_struct(map) and
      Enum.all?(map, fn {name, value} -> name in [:tokens, :money] and natural?(value) and value < 2 ** 62 end)
  end

  defp resources?(_other), do: false
end
