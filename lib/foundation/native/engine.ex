defmodule Foundation.Native.Engine do
  @moduledoc false
  # The functions of the domain `engine`, which `use` defines in Foundation.Native.

  defmacro __using__(_options) do
    quote location: :keep do
      @spec engine_version() :: String.t()
      def engine_version, do: missing()

      @spec engine_log_attach(pid, 0..4) :: :ok
      def engine_log_attach(_pid, _level), do: missing()

      @spec engine_log_level(0..4) :: :ok
      def engine_log_level(_level), do: missing()

      @spec engine_log_write(1..4, String.t()) :: :ok
      def engine_log_write(_level, _text), do: missing()

      @spec engine_log_dropped() :: non_neg_integer
      def engine_log_dropped, do: missing()

      @spec engine_panic() :: no_return
      def engine_panic, do: missing()

      @spec engine_key_roundtrip(term) :: term
      def engine_key_roundtrip(_term), do: missing()

      @spec engine_nifs() :: [{atom, arity, :normal | :dirty_cpu | :dirty_io}]
      def engine_nifs, do: missing()
    end
  end
end
