defmodule Foundation.JepsenHistory do
  @moduledoc false
  # What workers did, in a file for each, so that a node that is killed takes nothing with it: the system keeps what was
  # written. Of each operation what was said last counts, and it is all that it did.

  @doc "A worker's file."
  def open(directory, {node, process, index}) do
    File.mkdir_p!(directory)
    {:ok, file} = :file.open(Path.join(directory, "#{node}-#{process}-#{index}"), [:append, :raw, :binary])
    file
  end

  @doc "Writes down what is known of operation `n`: a list of entries."
  def say(file, n, entries) do
    bytes = :erlang.term_to_binary({n, entries})
    :ok = :file.write(file, [<<byte_size(bytes)::32>>, bytes])
  end

  @doc "All entries of all workers."
  def read(directory) do
    for name <- File.ls!(directory),
        {_n, entries} <- directory |> Path.join(name) |> File.read!() |> operations(%{}),
        entry <- entries,
        do: entry
  end

  # What was being written when the node was killed was not yet asked for.
  defp operations(<<size::32, bytes::binary-size(size), rest::binary>>, known) do
    {n, entries} = :erlang.binary_to_term(bytes)
    operations(rest, Map.put(known, n, entries))
  end

  defp operations(_torn, known), do: known
end
