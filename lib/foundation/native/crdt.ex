defmodule Foundation.Native.Crdt do
  @moduledoc false
  # The functions of the domain `crdt`, which `use` defines in Foundation.Native.

  defmacro __using__(_options) do
    quote location: :keep do
      @type crdt :: reference
      @type crdt_path :: [term]
      @type crdt_op ::
              {:assign, term}
              | :add
              | :remove
              | {:increment, non_neg_integer}
              | {:decrement, non_neg_integer}
              | :enable
              | :disable
      @type crdt_error :: {:error, atom | {atom | non_neg_integer, term}}

      @spec crdt_new(
              term,
              non_neg_integer,
              pos_integer,
              {max_keys :: non_neg_integer, max_bytes :: non_neg_integer, drift_ms :: non_neg_integer}
            ) :: {:ok, crdt} | crdt_error
      def crdt_new(_type, _id, _shards, _bounds), do: missing()

      @spec crdt_mutate(crdt, crdt_path, crdt_op) :: :ok | :wake | :dirty | crdt_error
      def crdt_mutate(_state, _path, _op), do: missing()

      @spec crdt_mutate_large(crdt, crdt_path, crdt_op) :: :ok | :wake | crdt_error
      def crdt_mutate_large(_state, _path, _op), do: missing()

      @spec crdt_mutate_durable(crdt, crdt_path, crdt_op) :: :ok | :wake | crdt_error
      def crdt_mutate_durable(_state, _path, _op), do: missing()

      @spec crdt_mutate_all(crdt, [{crdt_path, crdt_op}]) :: :ok | :wake | crdt_error
      def crdt_mutate_all(_state, _changes), do: missing()

      @spec crdt_read_leaf(crdt, crdt_path) :: {:ok, term} | :none | :dirty | crdt_error
      def crdt_read_leaf(_state, _path), do: missing()

      @spec crdt_read(crdt, crdt_path, non_neg_integer) :: {:ok, term} | :none | crdt_error
      def crdt_read(_state, _path, _shard), do: missing()

      @spec crdt_push(crdt, non_neg_integer) :: {binary | nil, more :: boolean, complete :: boolean}
      def crdt_push(_state, _budget), do: missing()

      @spec crdt_roots(crdt) :: binary
      def crdt_roots(_state), do: missing()

      @spec crdt_handle(crdt, non_neg_integer, binary, non_neg_integer) ::
              {reply :: binary | nil, changed :: boolean, equal :: boolean, gave :: boolean} | crdt_error
      def crdt_handle(_state, _peer, _message, _budget), do: missing()

      @spec crdt_handle_durable(crdt, non_neg_integer, binary, non_neg_integer) ::
              {reply :: binary | nil, changed :: boolean, equal :: boolean, gave :: boolean} | crdt_error
      def crdt_handle_durable(_state, _peer, _message, _budget), do: missing()

      @spec crdt_watch(crdt, boolean) :: :ok
      def crdt_watch(_state, _on), do: missing()

      @spec crdt_changes(crdt, non_neg_integer) ::
              :lost | [{path :: [term], element :: boolean, before :: boolean, now :: {:ok, term} | :none}]
      def crdt_changes(_state, _shard), do: missing()

      @spec crdt_collect(crdt, [non_neg_integer], non_neg_integer) :: non_neg_integer
      def crdt_collect(_state, _peers, _most), do: missing()

      @spec crdt_forget(crdt, non_neg_integer) :: :ok
      def crdt_forget(_state, _peer), do: missing()

      @spec crdt_root(crdt) :: non_neg_integer
      def crdt_root(_state), do: missing()

      @spec crdt_status(crdt) :: %{atom => non_neg_integer}
      def crdt_status(_state), do: missing()

      @spec crdt_open_journal(crdt, String.t(), :os | :always | {:interval, pos_integer}) ::
              {:ok, map} | crdt_error
      def crdt_open_journal(_state, _dir, _sync), do: missing()

      @spec crdt_compact(crdt) :: boolean | crdt_error
      def crdt_compact(_state), do: missing()

      @spec crdt_close(crdt) :: :ok | crdt_error
      def crdt_close(_state), do: missing()
    end
  end
end
