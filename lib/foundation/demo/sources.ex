defmodule Foundation.Demo.Sources do
  @moduledoc false
  # Finds the BEAM files to analyse and what tells whether one has changed.

  @type file :: %{path: Path.t(), application: String.t(), bytes: non_neg_integer, mtime: integer}

  @doc "The files of the glob, or those of the Erlang/OTP and Elixir that run this, in the order of their paths."
  @spec find(Path.t() | nil, pos_integer | nil) :: [file]
  def find(glob, limit) do
    files =
      (glob || installed()) |> List.wrap() |> Enum.flat_map(&Path.wildcard/1) |> Enum.uniq() |> Enum.sort()

    files |> Enum.flat_map(&describe/1) |> take(limit)
  end

  defp installed do
    for directory <- Enum.uniq([:code.lib_dir(), Path.dirname(:code.lib_dir(:elixir))]) do
      Path.join([to_string(directory), "*", "ebin", "*.beam"])
    end
  end

  defp take(files, nil), do: files
  defp take(files, limit), do: Enum.take(files, limit)

  defp describe(path) do
    case File.stat(path, time: :posix) do
      {:ok, %File.Stat{type: :regular, size: bytes, mtime: mtime}} ->
        [%{path: path, application: application(path), bytes: bytes, mtime: mtime}]

      _ ->
        []
    end
  end

  # .../lib/stdlib-4.2/ebin/lists.beam belongs to stdlib.
  defp application(path) do
    directory = Path.dirname(path)
    owner = if Path.basename(directory) == "ebin", do: Path.dirname(directory), else: directory
    owner |> Path.basename() |> String.replace(~r/-\d[\w.]*$/, "")
  end
end
