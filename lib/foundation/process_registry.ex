defmodule Foundation.ProcessRegistry do
  @moduledoc """
  Finds a service's process by namespace and name.
  """

  @type namespace :: :production | {:test, reference}
  @type service_name :: :config_server | :event_store | :telemetry_service | :test_supervisor
  @type registry_key :: {namespace, service_name}

  @doc false
  def child_spec(_opts) do
    %{
      id: Registry,
      start:
        {Registry, :start_link, [[keys: :unique, name: __MODULE__, partitions: System.schedulers_online()]]},
      type: :supervisor,
      restart: :permanent,
      shutdown: :infinity
    }
  end

  @doc "The name to start or call a service by."
  @spec via_tuple(namespace, service_name) :: {:via, Registry, {atom, registry_key}}
  def via_tuple(namespace, service), do: {:via, Registry, {__MODULE__, {namespace, service}}}

  @doc "The live process of a service."
  @spec lookup(namespace, service_name) :: {:ok, pid} | :error
  def lookup(namespace, service) do
    case Registry.lookup(__MODULE__, {namespace, service}) do
      [{pid, _}] -> if Process.alive?(pid), do: {:ok, pid}, else: :error
      [] -> :error
    end
  end
end
