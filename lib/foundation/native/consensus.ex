defmodule Foundation.Native.Consensus do
  @moduledoc false
  # The functions of the domain `consensus`, which `use` defines in Foundation.Native.

  defmacro __using__(_options) do
    quote location: :keep do
      @type consensus :: reference
      @type consensus_group :: reference
      @typedoc "A client, 16 bytes, and its number; nil for one of the library's own."
      @type consensus_id :: {<<_::128>>, non_neg_integer} | nil
      @type consensus_level :: :linearizable | :lease | :quorum | :local

      @spec consensus_start(map, pid) :: {:ok, consensus} | {:error, term}
      def consensus_start(_options, _sender), do: missing()

      @spec consensus_stop(consensus) :: :ok
      def consensus_stop(_consensus), do: missing()

      @spec consensus_receive(consensus, String.t(), [binary]) :: :ok
      def consensus_receive(_consensus, _from, _frames), do: missing()

      @spec consensus_receive_large(consensus, String.t(), [binary]) :: :ok
      def consensus_receive_large(_consensus, _from, _frames), do: missing()

      @spec consensus_attach(consensus, fabric) :: :ok
      def consensus_attach(_consensus, _fabric), do: missing()

      @spec consensus_stored(consensus) :: [String.t()]
      def consensus_stored(_consensus), do: missing()

      @spec consensus_group_start(
              consensus,
              reference,
              String.t(),
              [String.t()],
              map,
              {:coordination | :process, pid}
            ) :: :ok
      def consensus_group_start(_consensus, _reference, _name, _members, _options, _machine), do: missing()

      @spec consensus_group_stop(consensus, String.t()) :: :ok
      def consensus_group_stop(_consensus, _name), do: missing()

      @spec consensus_answer(reference, [binary] | binary | :ok) :: boolean | :dirty
      def consensus_answer(_ticket, _answer), do: missing()

      @spec consensus_answer_large(reference, [binary] | binary | :ok) :: boolean
      def consensus_answer_large(_ticket, _answer), do: missing()

      @spec consensus_propose(consensus_group, reference, binary, non_neg_integer, consensus_id) ::
              :ok | :dirty
      def consensus_propose(_group, _reference, _command, _timeout_ms, _id), do: missing()

      @spec consensus_propose_large(consensus_group, reference, binary, non_neg_integer, consensus_id) :: :ok
      def consensus_propose_large(_group, _reference, _command, _timeout_ms, _id), do: missing()

      @spec consensus_read(consensus_group, reference, binary, consensus_level, non_neg_integer) ::
              :ok | {:error, :too_large}
      def consensus_read(_group, _reference, _query, _level, _timeout_ms), do: missing()

      @spec consensus_coordinate(consensus_group, reference, tuple, non_neg_integer, consensus_id) ::
              :ok | {:error, :too_large}
      def consensus_coordinate(_group, _reference, _command, _timeout_ms, _id), do: missing()

      @spec consensus_ask(consensus_group, reference, tuple, consensus_level, non_neg_integer) ::
              :ok | {:now, {:ok, term} | {:error, term}}
      def consensus_ask(_group, _reference, _query, _level, _timeout_ms), do: missing()

      @spec consensus_change(consensus_group, reference, tuple | :snapshot, non_neg_integer) :: :ok
      def consensus_change(_group, _reference, _change, _timeout_ms), do: missing()

      @spec consensus_status(consensus_group) :: map | nil
      def consensus_status(_group), do: missing()

      @spec consensus_recover(consensus, String.t(), String.t()) :: :ok | {:error, term}
      def consensus_recover(_consensus, _name, _word), do: missing()
    end
  end
end
