defmodule Foundation.ConfigSchemas do
  @moduledoc false
  # Schemas that tests register.

  defmodule Retry do
    @moduledoc "How to try again."
    use Foundation.Config.Schema

    defconfig do
      field :attempts, :pos_integer, default: 3, max: 10, doc: "How often | at most"
      field :passphrase_of_proxy, :string, sensitive: true
    end
  end

  defmodule PaymentsConfig do
    @moduledoc "Who takes the money."
    use Foundation.Config.Schema

    @currencies ["EUR"]

    defconfig do
      field :provider, {:enum, [:stripe, :adyen, :none]}, default: :none

      field :key, :string,
        required: true,
        sensitive: true,
        format: ~r/^sk_/,
        depends_on: {:provider, [:stripe, :adyen]}

      field :timeout, :duration, default: 5_000, min: 100, max: 60_000
      field :currencies, {:list, :string}, default: @currencies, min: 1
      field :retry, Foundation.ConfigSchemas.Retry
      field :endpoint, :url, updatable: false
    end
  end

  defmodule Strict do
    @moduledoc false
    use Foundation.Config.Schema

    defconfig :strict_section do
      field :token_of_access, :string, required: true
    end
  end

  defmodule Clash do
    @moduledoc false
    use Foundation.Config.Schema

    defconfig :payments do
      field :a, :integer
    end
  end

  defmodule Builtin do
    @moduledoc false
    use Foundation.Config.Schema

    defconfig :ai do
      field :a, :integer
    end
  end

  defmodule Numbers do
    @moduledoc false
    use Foundation.Config.Schema

    defconfig :numbers do
      field :a, :integer, default: 0, min: -100, max: 100
      field :b, :integer, default: 0, min: -100, max: 100
      field :c, {:or, [:integer, :string]}, default: 0
      field :even, :integer, default: 0, validate: &even/1
    end

    defp even(n), do: if(rem(n, 2) == 0, do: :ok, else: {:error, "is odd"})
  end
end
