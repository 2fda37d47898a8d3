defmodule Foundation.Distributed.Supervisor do
  @moduledoc false
  # The processes of the fabric; they exist only when it is switched on. When the endpoint goes, what stands on it begins
  # again with it; who subscribes is remembered.

  use Supervisor

  alias Foundation.Distributed.{Discovery, Fabric, Overlay}
  alias Foundation.Distributed.Fabric.{Callee, Relay, Subscribers}

  def start_link(options), do: Supervisor.start_link(__MODULE__, options, name: __MODULE__)

  @impl true
  def init(options) do
    callees = 1..System.schedulers_online()

    fabric = %{id: Fabric, start: {__MODULE__, :start_fabric, [options]}}

    children =
      [Subscribers | Enum.map(callees, &{Callee, &1})] ++ [Relay, fabric, {Overlay, options}, Discovery]

    Supervisor.init(children, strategy: :rest_for_one)
  end

  # The endpoint sends to its callees by pid.
  def start_fabric(options) do
    Fabric.start_link({options, Enum.map(Fabric.callees(), &Process.whereis/1)})
  end
end
