defmodule Foundation.Cluster.Config.Options do
  @moduledoc false
  # `config :foundation, cluster_options:`: each with its default, its test, and the words for what it should be.

  @ms "a number of milliseconds above 0"

  # {key, default, test, expectation}
  @options [
    {:name, nil, :name?, "a node name as atom or string, without host or in full"},
    {:cookie, nil, :cookie?, "an atom"},
    {:leave_after, 15_000, :ms?, @ms},
    {:down_after, 5_000, :ms?, @ms},
    {:rejoin_after, 60_000, :ms?, @ms},
    {:drain_timeout, 30_000, :ms?, @ms},
    {:drain_on_sigterm, :release, :sigterm?, "true, false or :release"},
    {:expected_size, nil, :size?, "a number of nodes above 0"}
  ]

  @type t :: %{
          name: atom | String.t() | nil,
          cookie: atom | nil,
          leave_after: pos_integer,
          down_after: pos_integer,
          rejoin_after: pos_integer,
          drain_timeout: pos_integer,
          drain_on_sigterm: boolean | :release,
          expected_size: pos_integer | nil
        }

  @spec read(term) :: {:ok, t} | {:error, atom | String.t(), term, String.t()}
  def read(given) do
    known = Enum.map(@options, &elem(&1, 0))

    cond do
      not Keyword.keyword?(given) -> {:error, "", given, "a keyword list"}
      Keyword.keys(given) -- known != [] -> unknown(hd(Keyword.keys(given) -- known), known)
      true -> checked(given)
    end
  end

  defp unknown(key, known), do: {:error, "", key, "one of #{Enum.map_join(known, ", ", &inspect/1)}"}

  defp checked(given) do
    Enum.reduce_while(@options, {:ok, %{}}, fn {key, default, test, expected}, {:ok, done} ->
      value = Keyword.get(given, key, default)

      if value == default or test(test, value),
        do: {:cont, {:ok, Map.put(done, key, value)}},
        else: {:halt, {:error, key, shown(key, value), expected}}
    end)
  end

  defp shown(:cookie, _value), do: :concealed
  defp shown(_key, value), do: value

  defp test(:ms?, value), do: is_integer(value) and value > 0
  defp test(:size?, value), do: is_integer(value) and value > 0
  defp test(:cookie?, value), do: is_atom(value)
  defp test(:sigterm?, value), do: value in [true, false, :release]

  defp test(:name?, value) do
    (is_atom(value) or is_binary(value)) and
      Regex.match?(~r/\A[A-Za-z0-9_-]{1,100}(@[A-Za-z0-9_.:-]{1,150})?\z/, to_string(value))
  end
end
