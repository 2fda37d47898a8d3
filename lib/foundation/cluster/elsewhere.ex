defmodule Foundation.Cluster.Elsewhere do
  @moduledoc false
  # What functions of Foundation.Cluster do in a cluster that this node has joined besides its main one. What joins
  # clusters stands above, and says here how.

  alias Foundation.Cluster.Doctor.Finding

  @key {__MODULE__, :ways}

  @typedoc "Each takes a cluster's name first, but for `joined`."
  @type ways :: %{
          main?: (atom -> boolean),
          joined: (() -> [atom]),
          draining: (() -> [atom]),
          info: (atom -> map | {:error, :not_joined}),
          await: (atom, pos_integer | :majority, timeout -> :ok | {:error, term}),
          drain: (atom, term, pos_integer -> :ok | {:error, term}),
          resume: (atom -> :ok | {:error, term}),
          draining?: (atom, node -> boolean),
          knows?: (atom -> boolean),
          doctor: (atom, [node] -> [Finding.t()])
        }

  @spec put(ways) :: :ok
  def put(ways), do: :persistent_term.put(@key, ways)

  @doc "Which cluster an option `:cluster` means, nil for the main one; raises ArgumentError."
  @spec of(keyword) :: atom | nil
  def of(opts) do
    case opts[:cluster] do
      nil ->
        nil

      name when is_atom(name) and not is_boolean(name) ->
        if ask(:main?, [name], false), do: nil, else: name

      other ->
        raise ArgumentError, "cluster is #{inspect(other)}, and a cluster's name, an atom, was expected"
    end
  end

  @doc "Does it there; what there is when nothing was joined at all, else."
  @spec ask(atom, list, term) :: term
  def ask(way, arguments, otherwise \\ {:error, :not_joined}) do
    case :persistent_term.get(@key, nil) do
      %{^way => fun} -> apply(fun, arguments)
      nil -> otherwise
    end
  end
end
