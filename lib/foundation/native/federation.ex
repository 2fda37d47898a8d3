defmodule Foundation.Native.Federation do
  @moduledoc false
  # The functions of the domain `federation`, which `use` defines in Foundation.Native.

  defmacro __using__(_options) do
    quote location: :keep do
      @type federation :: reference
      @type federation_cluster :: {
              name :: String.t(),
              {:member, secrets :: [binary], gateway :: String.t() | nil}
              | {:foreign, of :: String.t(), authorities :: [binary]},
              gateways :: [String.t()],
              {calls :: pos_integer, bytes :: pos_integer, at_a_time :: pos_integer}
            }

      @spec federation_start(
              %{
                node: String.t(),
                boot: non_neg_integer,
                max_payload: pos_integer,
                clusters: [federation_cluster]
              },
              pid
            ) ::
              {:ok, federation}
              | {:error,
                 :system_limit
                 | :quota
                 | {:identity | :gateway, String.t()}
                 | {:not_member | :twice, String.t()}}
      def federation_start(_options, _pid), do: missing()

      @spec federation_call(federation, String.t(), binary, non_neg_integer, reference) ::
              {:ok, call :: reference} | {:error, :unknown_cluster | :too_large | :busy}
      def federation_call(_federation, _cluster, _payload, _within_ms, _reference), do: missing()

      @spec federation_cancel(call :: reference) :: boolean
      def federation_cancel(_call), do: missing()

      @spec federation_answer(reference, non_neg_integer, binary) :: boolean
      def federation_answer(_request, _status, _payload), do: missing()

      @spec federation_cluster(federation, String.t()) ::
              {gateway :: String.t() | nil, authorities :: [binary] | nil, linked :: String.t() | nil}
      def federation_cluster(_federation, _cluster), do: missing()

      @spec federation_refused(federation) :: [{atom, non_neg_integer}]
      def federation_refused(_federation), do: missing()

      @spec federation_stop(federation) :: :ok
      def federation_stop(_federation), do: missing()
    end
  end
end
