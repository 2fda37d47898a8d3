defmodule Foundation.Native.Pools do
  @moduledoc false
  # The functions of the domain `pools`, which `use` defines in Foundation.Native.

  defmacro __using__(_options) do
    quote location: :keep do
      @spec pool_new() :: reference
      def pool_new, do: missing()

      @spec pool_open(reference, term, map) :: reference | false
      def pool_open(_pools, _name, _settings), do: missing()

      @spec pool_checkout(reference, term) :: {pid, reference} | :empty | :full | :closed | :missing
      def pool_checkout(_pools, _name), do: missing()

      @spec pool_wait(reference, term, reference) ::
              {pid, reference} | {:queued, reference} | :full | :closed | :missing
      def pool_wait(_pools, _name, _tag), do: missing()

      @spec pool_retry(reference) :: pid | nil
      def pool_retry(_lease), do: missing()

      @spec pool_cancel(reference) :: boolean
      def pool_cancel(_lease), do: missing()

      @spec pool_checkin(reference) :: boolean
      def pool_checkin(_lease), do: missing()

      @spec pool_demand(reference) :: non_neg_integer
      def pool_demand(_keeper), do: missing()

      @spec pool_start_failed(reference) :: :ok
      def pool_start_failed(_keeper), do: missing()

      @spec pool_add(reference, pid) :: :ok
      def pool_add(_keeper, _worker), do: missing()

      @spec pool_remove(reference, pid) :: boolean
      def pool_remove(_keeper, _worker), do: missing()

      @spec pool_set_aside(reference, pid) :: boolean
      def pool_set_aside(_keeper, _worker), do: missing()

      @spec pool_restore(reference, pid) :: :ok
      def pool_restore(_keeper, _worker), do: missing()

      @spec pool_expire(reference) :: [pid]
      def pool_expire(_keeper), do: missing()

      @spec pool_idle(reference) :: [pid]
      def pool_idle(_keeper), do: missing()

      @spec pool_resize(reference, non_neg_integer, non_neg_integer) :: :ok
      def pool_resize(_keeper, _min, _max), do: missing()

      @spec pool_drain(reference) :: boolean
      def pool_drain(_keeper), do: missing()

      @spec pool_close(reference) :: :ok
      def pool_close(_keeper), do: missing()

      @spec pool_view(reference, term) :: map | :missing
      def pool_view(_pools, _name), do: missing()
    end
  end
end
