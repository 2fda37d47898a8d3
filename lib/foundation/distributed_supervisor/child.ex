defmodule Foundation.DistributedSupervisor.Child do
  @moduledoc false
  # A child as all nodes know it: how it is started, where it may run, and where it is to run now. `generation` grows with
  # each change of that.

  @enforce_keys [:name, :spec]
  defstruct [:name, :spec, :filter, :metadata, nodes: :any, handoff: nil, node: nil, generation: 0]

  @handoff_ms 5_000
  @options [:name, :nodes, :filter, :metadata, :handoff]

  @type t :: %__MODULE__{}

  @doc "The child of a specification and the options of `start_child/3`; raises ArgumentError."
  @spec new!(term, keyword) :: t
  def new!(spec, options) do
    spec = Supervisor.child_spec(spec, [])

    with [unknown | _] <- Keyword.keys(options) -- @options,
         do: raise(ArgumentError, "a child has no option #{inspect(unknown)}; it has #{inspect(@options)}")

    %__MODULE__{
      name: Keyword.get(options, :name, spec.id),
      spec: spec,
      nodes: nodes!(Keyword.get(options, :nodes, :any)),
      filter: filter!(options[:filter]),
      metadata: options[:metadata],
      handoff: handoff!(options[:handoff])
    }
  end

  defp nodes!(:any), do: :any

  defp nodes!([_ | _] = nodes) do
    if Enum.all?(nodes, &is_atom/1), do: nodes, else: bad(:nodes, nodes, ":any or a list of nodes")
  end

  defp nodes!(other), do: bad(:nodes, other, ":any or a list of nodes")

  defp filter!(nil), do: nil

  defp filter!({module, function, args} = filter)
       when is_atom(module) and is_atom(function) and is_list(args),
       do: filter

  defp filter!(function) when is_function(function, 2) do
    if Function.info(function, :type) == {:type, :external},
      do: function,
      else: bad(:filter, function, "a capture &Module.function/2, which every node can call")
  end

  defp filter!(other), do: bad(:filter, other, "&Module.function/2 or {module, function, arguments}")

  defp handoff!(off) when off in [nil, false], do: nil
  defp handoff!(true), do: @handoff_ms
  defp handoff!(ms) when is_integer(ms) and ms > 0, do: ms
  defp handoff!(other), do: bad(:handoff, other, "true, false or a number of ms above 0")

  defp bad(name, value, expected),
    do: raise(ArgumentError, "#{name}: is #{expected}, got: #{inspect(value)}")

  @doc "Whether it may run on that node, whose metadata are these."
  @spec eligible?(t, node, term) :: boolean
  def eligible?(%{nodes: nodes} = child, node, metadata),
    do: (nodes == :any or node in nodes) and passes?(child.filter, node, metadata)

  defp passes?(nil, _node, _metadata), do: true

  defp passes?({module, function, args}, node, metadata),
    do: apply(module, function, [node, metadata | args]) == true

  defp passes?(function, node, metadata), do: function.(node, metadata) == true
end
