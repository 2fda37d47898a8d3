defmodule Foundation.Native.Discovery do
  @moduledoc false
  # The functions of the domain `discovery`, which `use` defines in Foundation.Native.

  defmacro __using__(_options) do
    quote location: :keep do
      @type discovery :: reference
      @type discovery_failure ::
              {:error, :busy | :node | :name | :interface | :secret | {:daemon, String.t()}}

      @spec discovery_start(
              pid,
              {node :: String.t(), app :: String.t(), cluster :: String.t()},
              {boot :: non_neg_integer, port :: :inet.port_number(), udp_port :: :inet.port_number()},
              secret :: binary,
              {announce :: boolean, interfaces :: [String.t()]}
            ) :: {:ok, discovery} | discovery_failure
      def discovery_start(_pid, _names, _numbers, _secret, _options), do: missing()

      @spec discovery_announce(discovery, boolean) :: :ok | discovery_failure
      def discovery_announce(_discovery, _announce), do: missing()

      @spec discovery_stop(discovery) :: boolean
      def discovery_stop(_discovery), do: missing()

      @spec discovery_stats(discovery) :: %{
              nodes: [String.t()],
              strangers: [{node :: String.t(), cluster :: String.t()}],
              counts: %{atom => non_neg_integer},
              restarts: non_neg_integer,
              running: boolean
            }
      def discovery_stats(_discovery), do: missing()
    end
  end
end
