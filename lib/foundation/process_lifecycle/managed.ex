defmodule Foundation.ProcessLifecycle.Managed do
  @moduledoc false
  # What is known of one managed process, and how it is.

  @enforce_keys [:name, :start]
  defstruct [
    :name,
    :start,
    :pid,
    :monitor,
    :old,
    :check,
    :since,
    :started_at,
    depends_on: [],
    restart: :permanent,
    max_restarts: 5,
    shutdown: 5_000,
    status: :starting,
    reason: nil,
    own: :starting,
    hooks: [],
    restarts: [],
    total_restarts: 0,
    checks: 0,
    failures: 0,
    generation: 0
  ]

  @type t :: %__MODULE__{}

  @options [:depends_on, :restart, :max_restarts, :shutdown, :health_check, :check]
  @check_defaults [interval: 10_000, timeout: 1_000, failures: 3, on_unhealthy: :none]
  @hook_defaults [priority: 0, timeout: 5_000]

  @doc "Of the arguments of `register_managed_process/3`; raises for what cannot be right."
  @spec new(term, term, keyword) :: t
  def new(name, start, opts) do
    known!(opts, @options)
    depends_on = Keyword.get(opts, :depends_on, [])
    unless is_list(depends_on), do: bad!(:depends_on, depends_on, "a list of names")
    restart = Keyword.get(opts, :restart, :permanent)

    unless restart in [:permanent, :transient, :temporary],
      do: bad!(:restart, restart, ":permanent, :transient or :temporary")

    managed = %__MODULE__{
      name: name,
      start: start!(start),
      depends_on: depends_on,
      restart: restart,
      max_restarts: whole!(opts, :max_restarts, 5, 0),
      shutdown: whole!(opts, :shutdown, 5_000, 0),
      since: DateTime.utc_now()
    }

    case opts[:health_check] do
      nil -> managed
      check -> %{managed | check: check!(check, opts[:check] || [])}
    end
  end

  defp start!(pid) when is_pid(pid) do
    if node(pid) == node(), do: pid, else: bad!(:start, pid, "a process of this node")
  end

  defp start!(function) when is_function(function, 0), do: function
  defp start!(%{start: {_, _, _}} = spec), do: Map.merge(spec, %{restart: :temporary, id: make_ref()})

  defp start!(spec) when is_atom(spec) or (is_tuple(spec) and tuple_size(spec) == 2),
    do: spec |> Supervisor.child_spec([]) |> start!()

  defp start!(other), do: bad!(:start, other, "a pid, a child specification or a function of no arguments")

  @doc "Of the arguments of `set_health_check/3`."
  @spec check!(term, keyword) :: map | nil
  def check!(nil, _opts), do: nil

  def check!(check, opts) do
    known!(opts, Keyword.keys(@check_defaults))
    unless is_function(check, 1), do: bad!(:check, check, "a function of one argument")
    on_unhealthy = Keyword.get(opts, :on_unhealthy, :none)
    unless on_unhealthy in [:none, :restart], do: bad!(:on_unhealthy, on_unhealthy, ":none or :restart")

    %{
      run: check,
      interval: whole!(opts, :interval, @check_defaults[:interval], 1),
      timeout: whole!(opts, :timeout, @check_defaults[:timeout], 1),
      failures: whole!(opts, :failures, @check_defaults[:failures], 1),
      on_unhealthy: on_unhealthy
    }
  end

  @doc "Of the arguments of `add_shutdown_hook/3`."
  @spec hook!(term, keyword) :: map
  def hook!(hook, opts) do
    known!(opts, Keyword.keys(@hook_defaults))

    unless is_function(hook, 0) or is_function(hook, 1),
      do: bad!(:hook, hook, "a function of no or one argument")

    priority = Keyword.get(opts, :priority, 0)
    unless is_integer(priority), do: bad!(:priority, priority, "an integer")

    %{
      ref: make_ref(),
      run: hook,
      priority: priority,
      timeout: whole!(opts, :timeout, @hook_defaults[:timeout], 1)
    }
  end

  @doc "What users see of it."
  @spec health(t) :: map
  def health(%__MODULE__{} = managed) do
    managed
    |> Map.take([:status, :reason, :pid, :since, :checks, :failures, :depends_on])
    |> Map.put(:restarts, managed.total_restarts)
  end

  @doc "How long to wait before the next start, in ms; nil when there have been too many within a minute."
  @spec back_off(t, integer) :: non_neg_integer | nil
  def back_off(%__MODULE__{restarts: restarts, max_restarts: max}, now) do
    recent = Enum.count(restarts, &(now - &1 < 60_000))
    if recent < max, do: min(100 * Integer.pow(2, recent), 10_000)
  end

  defp whole!(opts, name, default, least) do
    value = Keyword.get(opts, name, default)

    if is_integer(value) and value >= least,
      do: value,
      else: bad!(name, value, "an integer of at least #{least}")
  end

  defp known!(opts, known) do
    case Keyword.keys(opts) -- known do
      [] -> :ok
      more -> raise ArgumentError, "unknown options #{inspect(more)}; known are #{inspect(known)}"
    end
  end

  @spec bad!(atom, term, String.t()) :: no_return
  defp bad!(name, value, wanted),
    do: raise(ArgumentError, "#{name} must be #{wanted}, got: #{inspect(value)}")
end
