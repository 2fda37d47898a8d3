defmodule Foundation.Native.Topology do
  @moduledoc false
  # The functions of the domain `topology`, which `use` defines in Foundation.Native.

  defmacro __using__(_options) do
    quote location: :keep do
      @type overlay :: reference
      @type overlay_refusal :: {:error, atom | {atom, term}}

      @spec topology_start(fabric, map, pid) :: {:ok, overlay} | overlay_refusal
      def topology_start(_fabric, _options, _owner), do: missing()

      @spec topology_stop(overlay, goodbye :: boolean) :: :ok
      def topology_stop(_overlay, _goodbye), do: missing()

      @spec topology_secrets(overlay, binary, [binary]) :: :ok | {:error, {:io, atom}}
      def topology_secrets(_overlay, _secret, _accepted), do: missing()

      @spec topology_join(overlay, [String.t()]) :: :ok | overlay_refusal
      def topology_join(_overlay, _addresses), do: missing()

      @spec topology_switch(overlay, atom) :: :ok | overlay_refusal
      def topology_switch(_overlay, _topology), do: missing()

      @spec topology_automatic(overlay, atom) :: :ok | overlay_refusal
      def topology_automatic(_overlay, _workload), do: missing()

      @spec topology_broadcast(overlay, non_neg_integer, binary, atom) :: :ok | overlay_refusal
      def topology_broadcast(_overlay, _topic, _payload, _urgency), do: missing()

      @spec topology_subscribe(overlay, non_neg_integer, boolean) :: :ok | overlay_refusal
      def topology_subscribe(_overlay, _topic, _on), do: missing()

      @spec topology_slow(overlay, boolean) :: :ok | overlay_refusal
      def topology_slow(_overlay, _slow), do: missing()

      @spec topology_info(overlay) :: map
      def topology_info(_overlay), do: missing()

      @spec topology_members(overlay) :: [{String.t(), non_neg_integer, String.t(), atom, binary}]
      def topology_members(_overlay), do: missing()

      @spec topology_links(overlay) :: [{String.t(), boolean}]
      def topology_links(_overlay), do: missing()

      @spec topology_route(overlay, String.t()) ::
              :direct | {:via, String.t()} | {:dial, String.t()} | :unknown
      def topology_route(_overlay, _node), do: missing()

      @spec topology_analyze(overlay) :: map
      def topology_analyze(_overlay), do: missing()

      @spec topology_recommend(overlay, atom) :: map
      def topology_recommend(_overlay, _workload), do: missing()
    end
  end
end
