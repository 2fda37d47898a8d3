defmodule Foundation.Cluster.Strategy.Options do
  @moduledoc false
  # Reads what a strategy cannot do without. A strategy that misses an option goes on asking, in vain, and says so in its
  # report: the doctor can then tell the user what is missing.

  @doc "The option's value, a text that is not empty."
  @spec text(keyword, atom) :: {:ok, String.t()} | {:error, {:invalid_option, {atom, term}}}
  def text(config, key) do
    case config[key] do
      value when is_binary(value) and value != "" -> {:ok, value}
      value when is_atom(value) and value not in [nil, true, false] -> {:ok, Atom.to_string(value)}
      value -> {:error, {:invalid_option, {key, value}}}
    end
  end

  @doc "The option's value, or the name part of this node's name."
  @spec basename(keyword, atom) :: {:ok, String.t()} | {:error, term}
  def basename(config, key) do
    case config[key] do
      nil -> {:ok, node() |> Atom.to_string() |> String.split("@") |> hd()}
      _ -> text(config, key)
    end
  end
end
