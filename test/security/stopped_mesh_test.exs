defmodule Foundation.StoppedMeshTest do
  # What the mesh and shared limits answer once the application has stopped.
  use ExUnit.Case, async: false

  alias Foundation.Infrastructure.Limits
  alias Foundation.{ServiceMesh, ServiceRegistry}

  setup_all do
    Application.stop(:foundation)
    on_exit(fn -> {:ok, _} = Application.ensure_all_started(:foundation) end)
  end

  test "every call says so, and none raises" do
    for call <- [
          fn -> ServiceRegistry.register_mesh_service(:stopped) end,
          fn -> ServiceRegistry.unregister_mesh_service(:stopped) end,
          fn -> ServiceRegistry.route_to_best_instance(:stopped) end,
          fn -> ServiceRegistry.route_to_best_instance(:stopped, policy: :weighted) end,
          fn -> ServiceMesh.call(:stopped, :hello) end,
          fn -> ServiceMesh.call(:stopped, :hello, idempotent: true, hedge: 5) end,
          fn -> ServiceMesh.run(:stopped, fn _, _ -> {:ok, 1} end) end,
          fn -> ServiceMesh.configure(:stopped, retries: 1) end,
          fn -> ServiceMesh.subscribe(:stopped) end,
          fn -> ServiceMesh.unsubscribe(:stopped) end,
          fn -> ServiceMesh.status(:stopped) end,
          fn -> Limits.set_limits(:stopped, [r: [limit: 1, per: 1_000]], scope: :cluster) end
        ],
        do: assert(call.() == {:error, :not_running})

    assert ServiceRegistry.discover_services(:stopped) == []
  end
end
