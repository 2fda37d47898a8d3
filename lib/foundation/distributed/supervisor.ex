defmodule Foundation.Distributed.Supervisor do
  @moduledoc false
  # The processes of one cluster's fabric; they exist only when it is switched on. When the endpoint goes, what stands on
  # it begins again with it; who subscribes is remembered.

  use Supervisor

  alias Foundation.Distributed.Clusters.Roll
  alias Foundation.Distributed.{Discovery, Fabric, Overlay}
  alias Foundation.Distributed.Fabric.{Callee, Deliverer, Relay, Scope, Subscribers}

  # Within a function, because supervisors write the arguments of their children into logs, and options may be secret.
  def child_spec({_scope, _options} = argument),
    do: %{id: __MODULE__, type: :supervisor, start: {__MODULE__, :start_link, [fn -> argument end]}}

  def child_spec(options), do: child_spec({nil, options})

  def start_link(argument) do
    {scope, _options} = argument.()
    Supervisor.start_link(__MODULE__, argument, name: Scope.process(scope, __MODULE__))
  end

  @impl true
  def init(argument) do
    {scope, _options} = argument.()

    # As many as can run at once.
    hands = for n <- 1..System.schedulers_online(), module <- [Callee, Deliverer], do: {module, {scope, n}}

    children =
      [{Subscribers, scope} | hands] ++
        [
          {Relay, scope},
          %{id: Fabric, start: {__MODULE__, :start_fabric, [argument]}},
          %{id: Overlay, start: {Overlay, :start_link, [argument]}},
          {Roll, scope}
        ] ++ discovery(scope)

    Supervisor.init(children, strategy: :rest_for_one)
  end

  # That of the main cluster is there without a fabric too, under the application.
  defp discovery(nil), do: []
  defp discovery(scope), do: [{Discovery.Supervisor, scope}]

  # The endpoint sends to them by pid.
  def start_fabric(argument) do
    {scope, options} = argument.()

    [callees, deliverers] =
      for module <- [Callee, Deliverer] do
        for n <- 1..System.schedulers_online(), do: Process.whereis(module.name(scope, n))
      end

    Fabric.start_link({scope, options, callees, deliverers})
  end
end
