defmodule Foundation.LogProbe do
  @moduledoc false
  # A :logger handler that remembers texts, so that a test can wait until a line has been logged.

  @table __MODULE__

  @doc "Adds the handler; call once, from test_helper.exs."
  def install do
    :ets.new(@table, [:named_table, :public, :set])
    :logger.add_handler(@table, __MODULE__, %{level: :all})
  end

  @doc "Whether a line with that exact text has been logged."
  def seen?(text), do: :ets.member(@table, text)

  @doc false
  def log(%{msg: {:string, text}}, _config), do: remember(IO.iodata_to_binary(text))
  def log(%{msg: {:report, _}}, _config), do: :ok

  def log(%{msg: {format, args}}, _config),
    do: remember(format |> :io_lib.format(args) |> IO.chardata_to_string())

  defp remember(text) do
    :ets.insert(@table, {text})
  rescue
    ArgumentError -> :ok
  end
end
