defmodule Foundation.Native.Breakers do
  @moduledoc false
  # The functions of the domain `breakers`, which `use` defines in Foundation.Native.

  defmacro __using__(_options) do
    quote location: :keep do
      @type breaker_change :: nil | {atom, atom} | :missing

      @spec breaker_new() :: reference
      def breaker_new, do: missing()

      @spec breaker_put(reference, term, map, boolean) :: boolean
      def breaker_put(_breakers, _key, _settings, _replace), do: missing()

      @spec breaker_admit(reference, term) :: non_neg_integer | :missing | {term, nil | {atom, atom}}
      def breaker_admit(_breakers, _key), do: missing()

      @spec breaker_prepare(reference, term) :: reference | :missing
      def breaker_prepare(_breakers, _key), do: missing()

      @spec breaker_admit_prepared(reference) :: non_neg_integer | :missing | {term, nil | {atom, atom}}
      def breaker_admit_prepared(_prepared), do: missing()

      @spec breaker_record(reference, term, non_neg_integer | reference, atom, non_neg_integer) ::
              breaker_change
      def breaker_record(_breakers, _key, _permit, _outcome, _took_us), do: missing()

      @spec breaker_melt(reference, term) :: breaker_change
      def breaker_melt(_breakers, _key), do: missing()

      @spec breaker_force(reference, term, :closed | :forced_open | :forced_closed) :: breaker_change
      def breaker_force(_breakers, _key, _state), do: missing()

      @spec breaker_view(reference, term) :: map | :missing
      def breaker_view(_breakers, _key), do: missing()

      @spec breaker_remove(reference, term) :: boolean
      def breaker_remove(_breakers, _key), do: missing()

      @spec breaker_sweep(reference) :: non_neg_integer
      def breaker_sweep(_breakers), do: missing()

      @spec breaker_count(reference) :: non_neg_integer
      def breaker_count(_breakers), do: missing()

      @spec breaker_keys(reference, non_neg_integer) :: [term]
      def breaker_keys(_breakers, _max), do: missing()

      @spec adaptive_new() :: reference
      def adaptive_new, do: missing()

      @spec adaptive_put(reference, term, map, boolean) :: boolean
      def adaptive_put(_limiters, _key, _settings, _replace), do: missing()

      @spec adaptive_acquire(reference, term) :: reference | :refused | :missing
      def adaptive_acquire(_limiters, _key), do: missing()

      @spec adaptive_release(reference, :success | :dropped | :ignored, non_neg_integer | nil) ::
              non_neg_integer | nil
      def adaptive_release(_slot, _outcome, _took_us), do: missing()

      @spec adaptive_view(reference, term) :: map | :missing
      def adaptive_view(_limiters, _key), do: missing()

      @spec adaptive_remove(reference, term) :: boolean
      def adaptive_remove(_limiters, _key), do: missing()
    end
  end
end
