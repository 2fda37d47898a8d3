defmodule Foundation.Native.Fabric do
  @moduledoc false
  # The functions of the domain `fabric`, which `use` defines in Foundation.Native.

  defmacro __using__(_options) do
    quote location: :keep do
      @type fabric :: reference
      @type fabric_refusal :: {:error, atom | {atom, term}}
      @type fabric_queued :: :ok | :dirty | fabric_refusal
      @type fabric_waiting :: {:ok, pos_integer} | :dirty | fabric_refusal

      @spec fabric_start(map, pid, [pid], [pid]) :: {:ok, fabric} | fabric_refusal
      def fabric_start(_options, _owner, _callees, _deliverers), do: missing()

      @spec fabric_stop(fabric) :: :ok
      def fabric_stop(_fabric), do: missing()

      @spec fabric_secrets(fabric, binary, [binary]) :: :ok | {:error, atom}
      def fabric_secrets(_fabric, _secret, _accepted), do: missing()

      @spec fabric_info(fabric) :: map
      def fabric_info(_fabric), do: missing()

      @spec fabric_metrics(fabric) :: [map]
      def fabric_metrics(_fabric), do: missing()

      @spec fabric_open(fabric, atom, map) :: :ok | fabric_refusal
      def fabric_open(_fabric, _channel, _settings), do: missing()

      @spec fabric_channel(fabric, atom) :: :ok | {:error, :unknown_channel}
      def fabric_channel(_fabric, _channel), do: missing()

      @spec fabric_peer(fabric, node, non_neg_integer, String.t() | nil) :: :ok
      def fabric_peer(_fabric, _node, _boot, _address), do: missing()

      @spec fabric_pause(fabric, atom, boolean) :: :ok
      def fabric_pause(_fabric, _channel, _paused), do: missing()

      @spec fabric_deliver(reference) :: :done | :more | [{pid, term, binary}, ...]
      def fabric_deliver(_errand), do: missing()

      @spec fabric_subscribe(fabric, atom, pid, how :: boolean | :context) :: :ok
      def fabric_subscribe(_fabric, _channel, _pid, _how), do: missing()

      @spec fabric_subscribers(fabric, atom) :: [{pid, context :: boolean}]
      def fabric_subscribers(_fabric, _channel), do: missing()

      @spec fabric_send(fabric, atom, node, atom | pid | [], term) :: fabric_queued
      def fabric_send(_fabric, _channel, _node, _target, _message), do: missing()

      @spec fabric_send_with(fabric, atom, node, atom | pid | [], term, {pid, reference | nil, term}) ::
              fabric_queued | fabric_waiting
      def fabric_send_with(_fabric, _channel, _node, _target, _message, _options), do: missing()

      @spec fabric_send_large(fabric, atom, node, atom | pid | [], term, {pid, reference | nil, term}) ::
              fabric_queued | fabric_waiting
      def fabric_send_large(_fabric, _channel, _node, _target, _message, _options), do: missing()

      @type fabric_calling :: {:ok, pos_integer, call :: reference} | :dirty | fabric_refusal

      @spec fabric_call(fabric, atom, node, atom | pid, term, {pid, reference, non_neg_integer}) ::
              fabric_calling
      def fabric_call(_fabric, _channel, _node, _target, _request, _options), do: missing()

      @spec fabric_call_large(fabric, atom, node, atom | pid, term, {pid, reference, non_neg_integer}) ::
              fabric_calling
      def fabric_call_large(_fabric, _channel, _node, _target, _request, _options), do: missing()

      @spec fabric_reply(fabric, atom, node, non_neg_integer, boolean, term) :: fabric_queued
      def fabric_reply(_fabric, _channel, _node, _number, _failed, _reply), do: missing()

      @spec fabric_reply_large(fabric, atom, node, non_neg_integer, boolean, term) :: fabric_queued
      def fabric_reply_large(_fabric, _channel, _node, _number, _failed, _reply), do: missing()

      @spec fabric_cancel_call(fabric, atom, node, non_neg_integer) :: fabric_queued
      def fabric_cancel_call(_fabric, _channel, _node, _number), do: missing()

      @spec fabric_forget(fabric, non_neg_integer) :: boolean
      def fabric_forget(_fabric, _number), do: missing()

      @spec fabric_await_room(fabric, atom, node, pid, reference) :: :room | fabric_waiting
      def fabric_await_room(_fabric, _channel, _node, _flow, _reference), do: missing()
    end
  end
end
