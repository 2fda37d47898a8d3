defmodule AstAnalysis.Source do
  @moduledoc """
  Finds compiled modules, tells whether one has changed, and cuts them into blocks of neighbours.

  A block is what is bid for: modules of one application that follow each other by name, which is how those that belong
  together are mostly named.
  """

  @type t :: %{module: module, path: Path.t(), digest: binary, bytes: pos_integer, application: String.t()}
  @type block :: %{name: String.t(), bytes: pos_integer, sources: [t]}
  @type links :: %{String.t() => %{String.t() => pos_integer}}

  @doc "The directories of the BEAM files of installed applications, of Erlang/OTP and of Elixir."
  @spec installed([String.t()]) :: [Path.t()]
  def installed(applications) do
    libraries = [:code.lib_dir(), Path.dirname(:code.lib_dir(:elixir))]

    for application <- applications do
      case Enum.flat_map(libraries, &Path.wildcard("#{&1}/#{application}{,-*}/ebin")) do
        [directory | _] -> directory
        [] -> raise ArgumentError, "there is no application #{application}"
      end
    end
  end

  @doc "The BEAM files of these directories, in the order of their applications and names."
  @spec find([Path.t()]) :: [t]
  def find(directories) do
    directories
    |> Enum.flat_map(&Path.wildcard(Path.join(&1, "*.beam")))
    |> Enum.flat_map(&read/1)
    |> Enum.uniq_by(& &1.module)
    |> Enum.sort_by(&{&1.application, &1.module})
  end

  defp read(path) do
    case :beam_lib.md5(to_charlist(path)) do
      {:ok, {module, digest}} ->
        [
          %{
            module: module,
            path: path,
            digest: digest,
            bytes: File.stat!(path).size,
            application: application(path)
          }
        ]

      {:error, :beam_lib, _reason} ->
        []
    end
  end

  # .../lib/stdlib-4.2/ebin/lists.beam is of stdlib.
  defp application(path) do
    path |> Path.dirname() |> Path.dirname() |> Path.basename() |> String.replace(~r/-\d[\w.]*$/, "")
  end

  @doc "Cuts the modules into blocks of at most `most` bytes, or of one module."
  @spec blocks([t], pos_integer) :: [block]
  def blocks(sources, most) do
    sources
    |> Enum.chunk_while(
      {[], 0},
      fn source, {block, bytes} ->
        if block == [] or (hd(block).application == source.application and bytes + source.bytes <= most),
          do: {:cont, {[source | block], bytes + source.bytes}},
          else: {:cont, block(block), {[source], source.bytes}}
      end,
      fn
        {[], 0} -> {:cont, nil}
        {block, _bytes} -> {:cont, block(block), nil}
      end
    )
  end

  defp block(reversed) do
    [first | _] = sources = Enum.reverse(reversed)
    last = hd(reversed)
    name = "#{first.application}: #{inspect(first.module)} to #{inspect(last.module)}"
    %{name: name, bytes: sources |> Enum.map(& &1.bytes) |> Enum.sum(), sources: sources}
  end

  @doc "How many functions of each other any two blocks call, by the import tables of their files."
  @spec links([block]) :: links
  def links(blocks) do
    home = for block <- blocks, source <- block.sources, into: %{}, do: {source.module, block.name}

    for block <- blocks,
        source <- block.sources,
        {module, _function, _arity} <- imports(source.path),
        other = home[module],
        other != nil and other != block.name,
        reduce: %{} do
      links -> links |> link(block.name, other) |> link(other, block.name)
    end
  end

  defp link(links, from, to),
    do: Map.update(links, from, %{to => 1}, fn of_block -> Map.update(of_block, to, 1, &(&1 + 1)) end)

  defp imports(path) do
    case :beam_lib.chunks(to_charlist(path), [:imports]) do
      {:ok, {_module, [imports: imports]}} -> imports
      {:error, :beam_lib, _reason} -> []
    end
  end
end
