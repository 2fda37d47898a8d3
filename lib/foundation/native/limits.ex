defmodule Foundation.Native.Limits do
  @moduledoc false
  # The functions of the domain `limits`, which `use` defines in Foundation.Native.

  defmacro __using__(_options) do
    quote location: :keep do
      @type limits :: reference
      @type limit_costs :: %{optional(atom) => integer | float | String.t() | struct}
      @type limit_error :: {:error, atom | {atom, term}}

      @spec limits_new(non_neg_integer) :: limits
      def limits_new(_max_keys), do: missing()

      @spec limits_define(limits, term, [tuple], [term], {non_neg_integer, non_neg_integer}) ::
              :ok | limit_error
      def limits_define(_limits, _key, _dimensions, _parent, _options), do: missing()

      @spec limits_acquire(limits, term, limit_costs) :: :ok | limit_error
      def limits_acquire(_limits, _key, _costs), do: missing()

      @spec limits_reserve(limits, term, limit_costs, non_neg_integer, pid) :: {:ok, reference} | limit_error
      def limits_reserve(_limits, _key, _costs, _for_ms, _owner), do: missing()

      @spec limits_commit(reference, limit_costs) :: :ok | limit_error
      def limits_commit(_reservation, _actual), do: missing()

      @spec limits_refund(reference) :: :ok | limit_error
      def limits_refund(_reservation), do: missing()

      @spec limits_wait(limits, term, limit_costs, reference, {integer, non_neg_integer, integer}) ::
              :ok | {:ok, reference} | {:waiting, reference} | limit_error
      def limits_wait(_limits, _key, _costs, _reference, _options), do: missing()

      @spec limits_cancel(reference) :: boolean
      def limits_cancel(_ticket), do: missing()

      @spec limits_peek(limits, term) :: {:ok, map} | limit_error
      def limits_peek(_limits, _key), do: missing()

      @spec limits_reset(limits, term) :: :ok | limit_error
      def limits_reset(_limits, _key), do: missing()

      @spec limits_delete(limits, term) :: :ok | limit_error
      def limits_delete(_limits, _key), do: missing()

      @spec limits_learn(limits, term, [{atom, term, term}], integer) :: :ok | limit_error
      def limits_learn(_limits, _key, _said, _pause_ms), do: missing()

      @typedoc "An amount: whole units and billionths."
      @type limits_parts :: {non_neg_integer, non_neg_integer}

      @spec limits_quota_report(limits, term, atom, limits_parts | nil) ::
              {:ok, {limits_parts, limits_parts, limits_parts, limits_parts}} | limit_error
      def limits_quota_report(_limits, _key, _dimension, _keep), do: missing()

      @spec limits_quota_look(limits, term, atom) ::
              {:ok, {limits_parts, limits_parts, limits_parts, limits_parts}} | limit_error
      def limits_quota_look(_limits, _key, _dimension), do: missing()

      @spec limits_quota_grant(
              limits,
              term,
              atom,
              limits_parts,
              {lease_us :: non_neg_integer | nil, retry_us :: non_neg_integer}
            ) :: :ok | limit_error
      def limits_quota_grant(_limits, _key, _dimension, _amount, _times), do: missing()

      @spec limits_count(limits) :: non_neg_integer
      def limits_count(_limits), do: missing()

      @spec limits_sweep(limits) :: non_neg_integer
      def limits_sweep(_limits), do: missing()

      @spec limits_check_rate(limits, term, term, non_neg_integer, pos_integer) :: pos_integer
      def limits_check_rate(_limits, _entity, _operation, _limit, _window_ms), do: missing()

      @spec limits_rate_status(limits, term, term) :: {non_neg_integer, non_neg_integer, pos_integer} | nil
      def limits_rate_status(_limits, _entity, _operation), do: missing()

      @spec limits_rate_reset(limits, term, term) :: boolean
      def limits_rate_reset(_limits, _entity, _operation), do: missing()

      @spec limits_window_hit(limits, term, pos_integer, non_neg_integer, non_neg_integer) ::
              {:allow, non_neg_integer} | {:deny, non_neg_integer}
      def limits_window_hit(_limits, _key, _scale, _limit, _by), do: missing()

      @spec limits_window_inc(limits, term, pos_integer, non_neg_integer) :: non_neg_integer
      def limits_window_inc(_limits, _key, _scale, _by), do: missing()

      @spec limits_window_set(limits, term, pos_integer, non_neg_integer) :: :ok
      def limits_window_set(_limits, _key, _scale, _count), do: missing()

      @spec limits_window_get(limits, term, pos_integer) :: non_neg_integer
      def limits_window_get(_limits, _key, _scale), do: missing()

      @spec limits_window_clean(limits) :: non_neg_integer
      def limits_window_clean(_limits), do: missing()
    end
  end
end
