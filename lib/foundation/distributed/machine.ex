defmodule Foundation.Distributed.Machine do
  @moduledoc """
  A state machine that the members of a group replicate: each applies the same commands in the same order.

      defmodule MyApp.Ledger do
        use Foundation.Distributed.Machine

        @impl true
        def init(_argument), do: %{}

        @impl true
        def apply({:deposit, account, amount}, _meta, balances) do
          balances = Map.update(balances, account, amount, &(&1 + amount))
          {{:ok, balances[account]}, balances}
        end

        @impl true
        def query({:balance, account}, balances), do: Map.get(balances, account, 0)
      end

      {:ok, _} = Foundation.Distributed.Consensus.start_group(:ledger, machine: MyApp.Ledger, members: nodes)
      {:ok, {:ok, 10}} = Foundation.Distributed.Consensus.propose(:ledger, {:deposit, :a, 10})

  The machine runs in a process of its own on each member. It must be deterministic: reply and state may depend on the
  state, the command and `meta`, and on nothing else; time is `meta.time_ms`. A command that raises is answered with
  `{:error, {:raised, exception}}` and leaves the state as it was.

  `snapshot/1` and `restore/2` say what is kept of the state when the log is cut; by default all of it. Snapshots are
  written in the external term format.

  No function here calls the native library.
  """

  @typedoc "The state."
  @type state :: term

  @typedoc """
  What is known of a command: its `index` in the log, the `term` of the leader that took it in, and `time_ms`, that
  leader's clock in ms since 1970, which never goes back in a log.
  """
  @type meta :: %{index: non_neg_integer, term: non_neg_integer, time_ms: non_neg_integer}

  @doc "The state before the first command; the argument is that of `machine: {module, argument}`, or nil."
  @callback init(argument :: term) :: state

  @doc "Applies a command: its reply, and the state after it."
  @callback apply(command :: term, meta, state) :: {reply :: term, state}

  @doc "Answers a question."
  @callback query(query :: term, state) :: term

  @doc "What to keep of the state."
  @callback snapshot(state) :: term

  @doc "The state that a snapshot was made of; `argument` is that of `c:init/1`."
  @callback restore(snapshot :: term, argument :: term) :: state

  @doc false
  defmacro __using__(_options) do
    quote do
      @behaviour Foundation.Distributed.Machine

      @impl Foundation.Distributed.Machine
      def query(_query, state), do: state

      @impl Foundation.Distributed.Machine
      def snapshot(state), do: state

      @impl Foundation.Distributed.Machine
      def restore(snapshot, _argument), do: snapshot

      defoverridable query: 2, snapshot: 1, restore: 2
    end
  end
end
