defmodule Foundation.Guide do
  @moduledoc false
  # Runs the Elixir code of a guide, block by block, in one session. A line `#=> value` after an expression says what it
  # gives; `value` is a pattern.

  @doc "Runs the guide; raises where it is wrong. Gives the number of values it checked."
  def run(path) do
    text = File.read!(path)
    blocks = Regex.scan(~r/^```elixir\n(.*?)^```$/ms, text, capture: :all_but_first)

    {checks, _binding, _env} =
      Enum.reduce(blocks, {0, [], Code.env_for_eval(file: path, module: nil)}, fn [code],
                                                                                  {checks, binding, env} ->
        {code, found} = checked(code)

        {_value, binding, env} =
          Code.eval_quoted_with_env(Code.string_to_quoted!(code, file: path), binding, env)

        {checks + found, binding, env}
      end)

    checks
  end

  @doc false
  defmacro gives(value, pattern) do
    text = Macro.to_string(pattern)

    quote do
      case unquote(value) do
        unquote(pattern) = value -> value
        other -> raise "the guide says #{unquote(text)}, and it gives #{inspect(other, limit: :infinity)}"
      end
    end
  end

  defp checked(code) do
    found = Regex.scan(~r/^\s*#=> .*$/m, code)
    code = Regex.replace(~r/^(\s*)#=> (.*)$/m, code, "\\1|> Foundation.Guide.gives(\\2)")
    {"require Foundation.Guide\n" <> code, length(found)}
  end
end
