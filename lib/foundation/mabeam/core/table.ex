defmodule Foundation.MABEAM.Core.Table do
  @moduledoc false
  # The variables that this node knows, each with its last known value.

  alias Foundation.MABEAM.Types.Variable

  @table Foundation.MABEAM.Core.Variables

  defstruct [:variable, :version, :value, :by, :at]

  @type t :: %__MODULE__{
          variable: Variable.t(),
          version: non_neg_integer,
          value: term,
          by: term,
          at: integer
        }

  def create, do: :ets.new(@table, [:named_table, :public, read_concurrency: true])

  @spec fetch(Variable.name()) :: {:ok, t} | {:error, :not_found | :not_running}
  def fetch(name) do
    case :ets.lookup(@table, name) do
      [{_name, entry}] -> {:ok, entry}
      [] -> {:error, :not_found}
    end
  rescue
    ArgumentError -> {:error, :not_running}
  end

  @spec put(t) :: t
  def put(entry) do
    :ets.insert(@table, {entry.variable.name, entry})
    entry
  end

  @spec delete(Variable.name()) :: true
  def delete(name), do: :ets.delete(@table, name)

  @spec all() :: [t]
  def all do
    for {_name, entry} <- :ets.tab2list(@table), do: entry
  rescue
    ArgumentError -> []
  end
end
