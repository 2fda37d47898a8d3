defmodule AstAnalysis.Sample do
  @moduledoc """
  A module that changes while it is debugged: a program of one file, compiled into a directory as Mix would.
  """

  @till """
  defmodule AstAnalysis.Sample.Till do
    def total(items), do: Enum.sum(items)
  end
  """

  @till_with_discount """
  defmodule AstAnalysis.Sample.Till do
    def total(items), do: Enum.sum(items)

    def discounted(items, customer) do
      case customer do
        :regular -> total(items) * 0.9
        _other -> total(items)
      end
    end
  end
  """

  @doc "Writes the first version below `directory`: where its BEAM file is."
  @spec write(Path.t()) :: Path.t()
  def write(directory), do: compile(directory, @till)

  @doc "Writes the second version over it."
  @spec change(Path.t()) :: Path.t()
  def change(directory), do: compile(directory, @till_with_discount)

  defp compile(directory, source) do
    ebin = Path.join(directory, "sample-1.0/ebin")
    File.mkdir_p!(ebin)

    for {module, binary} <- with_options(fn -> Code.compile_string(source) end),
        do: File.write!(Path.join(ebin, "#{module}.beam"), binary)

    ebin
  end

  # With debug info, and without a warning of the version that was there before.
  defp with_options(compile) do
    options = [debug_info: true, ignore_module_conflict: true]
    before = for {name, _value} <- options, do: {name, Code.get_compiler_option(name)}
    set(options)

    try do
      compile.()
    after
      set(before)
    end
  end

  defp set(options), do: for({name, value} <- options, do: Code.put_compiler_option(name, value))
end
