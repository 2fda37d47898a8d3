defmodule Foundation.ErrorContext do
  @moduledoc """
  Says, when something fails, what was being done, step by step, with what data, and how long each step took.

  A context names an operation. Run a function under it, and an exception comes back as a `Foundation.Error`
  that knows the operation, its breadcrumbs and its duration:

      iex> context = Foundation.ErrorContext.new(MyApp.Orders, :place)
      iex> {:error, error} = Foundation.ErrorContext.with_context(context, fn -> raise "declined" end)
      iex> {error.error_type, error.message}
      {:internal_error, "Exception in operation: declined"}

  ## Steps

  `step/3` runs a part of the work as a named, timed step and remembers what went in and what came out; steps
  nest. `capture/3` adds intermediate data. `trace/1` gives all of it as data, `render/1` as an indented tree:

      iex> alias Foundation.ErrorContext
      iex> context = ErrorContext.new(MyApp.Orders, :place)
      iex> ErrorContext.step(context, {:price, [2, 3]}, fn items ->
      ...>   ErrorContext.step(context, :sum, fn -> Enum.sum(items) end)
      ...> end)
      5
      iex> [price] = ErrorContext.trace(context).steps
      iex> {price.name, price.input, price.output, price.status, Enum.map(price.children, & &1.name)}
      {:price, [2, 3], 5, :ok, [:sum]}

  A step that raises, throws, exits or returns an error is recorded with what it was given, and the failure
  goes on as if the step were not there. Inputs, outputs and captured data are cut to a bounded size, and
  values under keys such as `:password` or `"authorization"` are replaced; see `guides/error_context.md` for
  the options.

  ## Other processes

  A context and its current step live in the process dictionary. `bind/1` wraps a function so that another
  process runs it under them, `async/1` is `Task.async/1` of that, and `carry/0` with `attach/1` do it by
  message. Steps of several processes make one tree. A task that was not bound but started by `Task` finds its
  caller's step by itself in the form `step(name, input, fun)`.

  What steps record lives in one table of the node, bounded in traces, steps and bytes: the oldest traces go
  first. It outlives the process that made it, so a step that was running when its process died is seen as
  `:died`.
  """

  alias Foundation.Distributed.Context
  alias Foundation.Error
  alias Foundation.ErrorContext.{Carry, Render, Steps, Trace}
  alias Foundation.Utils

  @type breadcrumb :: %{module: module, function: atom, timestamp: integer, metadata: map}

  @type t :: %__MODULE__{
          operation_id: pos_integer,
          module: module,
          function: atom,
          correlation_id: String.t(),
          start_time: integer,
          metadata: map,
          breadcrumbs: [breadcrumb],
          parent_context: t | nil,
          start_ns: integer | nil,
          trace_id: pos_integer | nil
        }

  @type context :: t

  @typedoc "What a step is called."
  @type step_name :: atom | String.t()

  @enforce_keys [:operation_id, :module, :function, :correlation_id, :start_time]
  defstruct [
    :operation_id,
    :module,
    :function,
    :correlation_id,
    :start_time,
    metadata: %{},
    breadcrumbs: [],
    parent_context: nil,
    start_ns: nil,
    trace_id: nil
  ]

  @key :error_context

  @doc """
  A context for an operation, with its first breadcrumb.

  Options: `correlation_id:` (unless given, the trace id of a `Foundation.Distributed.Context`, or a new UUID),
  `metadata:` a map, `parent_context:`. `start_time` and the breadcrumbs' `timestamp` are monotonic milliseconds. O(1).
  """
  @spec new(module, atom, keyword) :: t
  def new(module, function, opts \\ []) do
    id = System.unique_integer([:positive, :monotonic])

    %__MODULE__{
      operation_id: id,
      module: module,
      function: function,
      correlation_id: Keyword.get_lazy(opts, :correlation_id, &Context.correlation_id/0),
      start_time: now_ms(),
      start_ns: now_ns(),
      metadata: Keyword.get(opts, :metadata, %{}),
      breadcrumbs: [breadcrumb(module, function, %{})],
      parent_context: Keyword.get(opts, :parent_context),
      trace_id: id
    }
  end

  @doc """
  A context for a part of a parent's operation: same correlation id and trace, metadata merged, breadcrumb
  added.
  """
  @spec child_context(t, module, atom, map) :: t
  def child_context(%__MODULE__{} = parent, module, function, metadata \\ %{}) do
    %__MODULE__{
      operation_id: System.unique_integer([:positive, :monotonic]),
      module: module,
      function: function,
      correlation_id: parent.correlation_id,
      start_time: now_ms(),
      start_ns: now_ns(),
      metadata: Map.merge(parent.metadata, metadata),
      breadcrumbs: parent.breadcrumbs ++ [breadcrumb(module, function, metadata)],
      parent_context: parent,
      trace_id: parent.trace_id || parent.operation_id
    }
  end

  @doc "Adds a breadcrumb. O(number of breadcrumbs)."
  @spec add_breadcrumb(t, module, atom, map) :: t
  def add_breadcrumb(%__MODULE__{} = context, module, function, metadata \\ %{}) do
    %{context | breadcrumbs: context.breadcrumbs ++ [breadcrumb(module, function, metadata)]}
  end

  @doc "Merges metadata."
  @spec add_metadata(t, map) :: t
  def add_metadata(%__MODULE__{} = context, metadata) when is_map(metadata) do
    %{context | metadata: Map.merge(context.metadata, metadata)}
  end

  @doc """
  Runs a function under the context and gives its value; an exception comes back as `{:error,
  Foundation.Error}`.

  While it runs, `get_current_context/0` gives the context. A throw or an exit passes through and leaves it
  set; a nested call leaves none.
  """
  @spec with_context(t, (() -> term)) :: term | {:error, Error.t()}
  def with_context(%__MODULE__{} = context, fun) when is_function(fun, 0) do
    Process.put(@key, context)

    try do
      fun.()
    rescue
      exception ->
        error = exception_error(exception, context, __STACKTRACE__)
        Process.delete(@key)
        Error.collect_error_metrics(error)
        {:error, error}
    else
      result ->
        Process.delete(@key)

        Foundation.Telemetry.emit_gauge(
          [:foundation, :operations, :duration],
          get_operation_duration(context),
          %{module: context.module, function: context.function, correlation_id: context.correlation_id}
        )

        result
    end
  end

  @doc """
  Adds what the context knows to an error; what is no error stays as it is. A reason that is no
  `Foundation.Error` becomes one of type `:external_error` (9999).
  """
  @spec enhance_error(Error.t(), t) :: Error.t()
  @spec enhance_error({:error, term}, t) :: {:error, Error.t()}
  @spec enhance_error(term, t) :: term
  def enhance_error(%Error{} = error, %__MODULE__{} = context) do
    %{
      error
      | context: Map.put(error.context || %{}, :operation_context, operation_context(context)),
        correlation_id: error.correlation_id || context.correlation_id
    }
  end

  def enhance_error({:error, %Error{} = error}, %__MODULE__{} = context),
    do: {:error, enhance_error(error, context)}

  def enhance_error({:error, reason}, %__MODULE__{} = context) do
    {:error,
     external_error(%{original_reason: reason, operation_context: operation_context(context)}, context)}
  end

  def enhance_error(result, _context), do: result

  @doc "The context that the calling process runs under, or nil."
  @spec get_current_context() :: t | nil
  def get_current_context, do: Process.get(@key)

  @doc "The breadcrumbs as text: `Mod.fun (1.5ms ago) -> Mod.fun (20μs ago)`."
  @spec format_breadcrumbs(t) :: String.t()
  def format_breadcrumbs(%__MODULE__{breadcrumbs: breadcrumbs}) do
    now = now_ms()

    Enum.map_join(breadcrumbs, " -> ", fn crumb ->
      ago = Utils.format_duration(max(now - crumb.timestamp, 0) * 1_000_000)
      "#{crumb.module}.#{crumb.function} (#{ago} ago)"
    end)
  end

  @doc "Milliseconds since the operation began."
  @spec get_operation_duration(t) :: integer
  def get_operation_duration(%__MODULE__{start_time: start}), do: now_ms() - start

  @doc """
  Adds a context, or a plain map, to a failed result; `:ok` and `{:ok, value}` stay as they are. A reason that
  is no `Foundation.Error` becomes one of type `:external_error` (9999) with `original_reason` in its context.
  """
  @spec add_context(term, t | map, map) :: term
  def add_context(result, context, additional_info \\ %{})
  def add_context(:ok, _context, _additional), do: :ok
  def add_context({:ok, _} = result, _context, _additional), do: result

  def add_context({:error, %Error{} = error}, %__MODULE__{} = context, additional) do
    enhanced = enhance_error(error, context)
    {:error, %{enhanced | context: Map.merge(enhanced.context, additional)}}
  end

  def add_context({:error, %Error{} = error}, context, additional) when is_map(context) do
    {:error, %{error | context: (error.context || %{}) |> Map.merge(context) |> Map.merge(additional)}}
  end

  def add_context({:error, reason}, %__MODULE__{} = context, additional) do
    details = %{original_reason: reason, operation_context: operation_context(context)}
    {:error, external_error(Map.merge(additional, details), context)}
  end

  def add_context({:error, reason}, context, additional) when is_map(context) do
    details = context |> Map.merge(additional) |> Map.put(:original_reason, reason)
    {:error, Error.new(:external_error, "External operation failed", context: details)}
  end

  # -- steps -------------------------------------------------------------------------------------------------

  @doc """
  Runs a function as a step and gives its value.

  - `step(context, name, fun)` with a function of no argument,
  - `step(context, {name, input}, fun)` records the input; `fun` may take it as its argument,
  - `step(name, input, fun)` as the latter, under the process's current context, or that of the process which
    started this task, or a new one.

  The step lies below the one that the process is in. An exception, throw or exit is recorded and goes on.
  Recording costs about 3 µs and what it takes to copy input and output, each cut to a bounded size.
  """
  @spec step(t | step_name, step_name | {step_name, term} | term, (() -> value) | (term -> value)) :: value
        when value: term
  def step(%__MODULE__{} = context, {name, input}, fun)
      when is_function(fun, 0) or is_function(fun, 1),
      do: Steps.run(context, name, {:input, input}, fun)

  def step(%__MODULE__{} = context, name, fun) when is_function(fun, 0),
    do: Steps.run(context, name, :none, fun)

  def step(name, input, fun)
      when (is_atom(name) or is_binary(name)) and (is_function(fun, 0) or is_function(fun, 1)) do
    Steps.run(Carry.find() || new(__MODULE__, :step), name, {:input, input}, fun)
  end

  @doc """
  Adds a piece of intermediate data to the step that the process is in, or to the operation when it is in
  none.

  A context of nil is allowed and records nothing, so `capture(get_current_context(), :rows, 3)` is always
  safe.
  """
  @spec capture(t | nil, atom | String.t(), term) :: :ok
  def capture(nil, _key, _value), do: :ok
  def capture(%__MODULE__{} = context, key, value), do: Steps.capture(context, key, value)

  @doc """
  What the steps of a context's operation recorded, as plain data.

  A map of `operation`, `correlation_id`, `started_at` (UTC), `data` (captured outside of steps), `dropped`
  (entries beyond the bound) and `steps`: a list of maps of `name`, `status` (`:running`, `:ok`, `:error` for
  a returned error, `:raised`, `:thrown`, `:exited`, `:died`), `offset_ns` since the operation's first step,
  `duration_ns` (nil while running), `pid`, `input`, `output`, `error`, `data` and `children`. A trace that
  was never recorded, or has been dropped for newer ones, has no steps. O(steps).
  """
  @spec trace(t) :: Trace.t()
  def trace(%__MODULE__{} = context), do: Trace.read(context)

  @doc "A context's or a trace's steps as an indented tree of text, with times, data and errors."
  @spec render(t | Trace.t()) :: String.t()
  def render(%__MODULE__{} = context), do: context |> trace() |> Render.tree()
  def render(%{steps: _} = trace), do: Render.tree(trace)

  @doc """
  Wraps a function of up to three arguments so that any process runs it under the caller's present context and
  step.

      Task.Supervisor.async_stream(supervisor, files, Foundation.ErrorContext.bind(&parse/1))
  """
  @spec bind(fun) :: fun
  defdelegate bind(fun), to: Carry

  @doc "`Task.async/1` of the bound function."
  @spec async((() -> term)) :: Task.t()
  def async(fun) when is_function(fun, 0), do: Task.async(bind(fun))

  @doc "The caller's present context and step, to be sent to another process of this node for `attach/1`."
  @spec carry() :: Carry.t()
  defdelegate carry(), to: Carry

  @doc "Puts the calling process under a carried context and step. What it was under before is forgotten."
  @spec attach(Carry.t()) :: :ok
  defdelegate attach(carried), to: Carry

  # -- inside ------------------------------------------------------------------------------------------------

  defp exception_error(exception, context, stacktrace) do
    message = Exception.message(exception)

    Error.new(:internal_error, "Exception in operation: #{message}",
      context: %{
        exception_type: exception.__struct__,
        exception_message: message,
        operation_context: operation_context(context)
      },
      correlation_id: context.correlation_id,
      stacktrace: stacktrace
    )
  end

  defp external_error(details, context) do
    Error.new(:external_error, "External operation failed",
      context: details,
      correlation_id: context.correlation_id
    )
  end

  defp operation_context(context) do
    known = %{
      operation_id: context.operation_id,
      correlation_id: context.correlation_id,
      breadcrumbs: context.breadcrumbs,
      duration_ns: now_ns() - (context.start_ns || context.start_time * 1_000_000),
      metadata: context.metadata
    }

    case Trace.failed_step(context) do
      nil -> known
      step -> Map.put(known, :failed_step, step)
    end
  end

  defp breadcrumb(module, function, metadata),
    do: %{module: module, function: function, timestamp: now_ms(), metadata: metadata}

  defp now_ms, do: System.monotonic_time(:millisecond)
  defp now_ns, do: System.monotonic_time(:nanosecond)
end
