defmodule Foundation.ConfigSchemaTest do
  use ExUnit.Case, async: true

  alias Foundation.Config.Schema
  alias Foundation.Config.Schema.Field
  alias Foundation.ConfigSchemas.{Numbers, PaymentsConfig, Retry, Strict}

  defp codes({:error, violations}), do: Enum.map(violations, &{&1.path, &1.code})

  defp declare(fields) do
    name = "Foundation.ConfigSchemaTest.S#{System.unique_integer([:positive])}"

    [{module, _} | _] =
      Code.compile_string(
        "defmodule #{name} do\n use Foundation.Config.Schema\n defconfig :s do\n#{fields}\nend\nend"
      )

    module
  end

  describe "declaration" do
    test "the section is named, or named after the module" do
      assert PaymentsConfig.__config_name__() == :payments
      assert Retry.__config_name__() == :retry
      assert Strict.__config_name__() == :strict_section
    end

    test "defaults" do
      assert PaymentsConfig.defaults() == %{
               provider: :none,
               key: nil,
               timeout: 5_000,
               currencies: ["EUR"],
               retry: %{attempts: 3, passphrase_of_proxy: nil},
               endpoint: nil
             }
    end

    test "what is wrong with a declaration is said when it is compiled" do
      for {fields, message} <- [
            {"field :a, :no_such_type", "unknown type"},
            {"field :a, :integer, minimum: 1", "unknown option :minimum"},
            {"field :a, :integer, default: \"x\"", "the default of field :a is no integer"},
            {"field :a, :integer, default: 5, max: 3", "is above 3"},
            {"field :a, :integer, default: 5, required: true", "required and has a default"},
            {"field :a, :boolean, min: 1", "no size"},
            {"field :a, :integer, min: 2, max: 1", "min above its max"},
            {"field :a, :integer, min: :x", "min of field :a is a number"},
            {"field :a, :string, format: 5", "regular expression"},
            {"field :a, :string, one_of: 5", "one_of of field :a is a list"},
            {"field :a, :string, depends_on: 5", "depends_on"},
            {"field :a, :string, depends_on: :b", "depends on :b, which is no field"},
            {"field :a, :string\nfield :a, :string", "declared twice"},
            {"field \"a\", :string", "a field's name is an atom"}
          ] do
        error = assert_raise ArgumentError, fn -> declare(fields) end
        assert error.message =~ message
      end
    end

    test "a section's name and options are checked" do
      assert_raise ArgumentError, fn ->
        Code.compile_string(
          "defmodule Foundation.BadUse do\n use Foundation.Config.Schema, unknown: :maybe\nend"
        )
      end
    end

    test "schema?" do
      assert Schema.schema?(PaymentsConfig)
      for other <- [Enum, :lists, nil, true, "x", 5, :no_such_module], do: refute(Schema.schema?(other))
    end

    test "documentation is generated" do
      docs = PaymentsConfig.config_docs()

      assert docs =~ "| field | type | default | rules | meaning |"
      assert docs =~ "| `provider` | one of :stripe, :adyen, :none | `:none` |"

      assert docs =~
               "| `key` | string | required | matches `^sk_`; only when `provider` is `:stripe` or `:adyen` | (secret) |"

      assert docs =~ "at least 100; at most 60000"
      assert docs =~ "| `retry.attempts` | positive integer | `3` | at most 10 | How often \\| at most |"
      assert docs =~ "fixed while running"
    end

    test "and is part of the module's own" do
      assert {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(PaymentsConfig)
      assert text =~ "Who takes the money."
      assert text =~ "## Fields"
      assert text =~ "| `timeout` |"
    end
  end

  describe "validate" do
    test "fills in defaults, takes keyword lists" do
      assert PaymentsConfig.validate(%{}) == {:ok, PaymentsConfig.defaults()}

      assert {:ok, %{timeout: 200, retry: %{attempts: 9}}} =
               PaymentsConfig.validate(timeout: 200, retry: [attempts: 9])
    end

    test "gives every violation, with its path" do
      result =
        PaymentsConfig.validate(%{
          provider: :stripe,
          timeout: 5,
          currencies: [],
          retry: %{attempts: 0, passphrase_of_proxy: 5},
          endpoint: "no url",
          curencies: 1
        })

      assert codes(result) == [
               {[:key], :required},
               {[:timeout], :min},
               {[:currencies], :min},
               {[:retry, :attempts], :type},
               {[:retry, :passphrase_of_proxy], :type},
               {[:endpoint], :type},
               {[:curencies], :unknown}
             ]

      {:error, violations} = result
      assert List.last(violations).message == "is no field; did you mean :currencies?"
      assert Enum.at(violations, 4).value == "[REDACTED]"
    end

    test "depends_on: only with it may a field be set, and must a required one be" do
      assert {:ok, _} = PaymentsConfig.validate(provider: :none)
      assert codes(PaymentsConfig.validate(provider: :stripe)) == [{[:key], :required}]
      assert {:ok, _} = PaymentsConfig.validate(provider: :stripe, key: "sk_1")
      assert codes(PaymentsConfig.validate(key: "sk_1")) == [{[:key], :depends_on}]
      assert codes(PaymentsConfig.validate(key: "pk_1", provider: :adyen)) == [{[:key], :format}]

      schema =
        declare("field :tls, :boolean, default: false\nfield :port, :integer, default: 1, depends_on: :tls")

      assert {:ok, _} = schema.validate(port: 1)
      assert codes(schema.validate(port: 2)) == [{[:port], :depends_on}]
      assert {:ok, _} = schema.validate(port: 2, tls: true)
    end

    test "custom checks and formats from text" do
      assert {:ok, _} = Numbers.validate(even: 4)
      assert {:error, [%{code: :validate, message: "is odd"}]} = Numbers.validate(even: 3)
      schema = declare(~S|field :a, :string, format: "^[a-z]+$", one_of: ["x", "y"]|)
      assert {:ok, _} = schema.validate(a: "x")
      assert codes(schema.validate(a: "Z")) == [{[:a], :format}, {[:a], :one_of}]
    end

    test "what is no map" do
      for bad <- [[1, 2], 5, nil, "x", [{1, 2}], DateTime.utc_now(), [:a | :b]] do
        assert {:error, [%{path: [], code: :type}]} = PaymentsConfig.validate(bad)
      end
    end

    test "unknown keys may be dropped or kept" do
      for {policy, expected} <- [drop: %{a: 1}, keep: %{a: 1, other: 2}] do
        name = "Foundation.ConfigSchemaTest.U#{policy}"

        [{module, _}] =
          Code.compile_string("""
          defmodule #{name} do
            use Foundation.Config.Schema, unknown: :#{policy}
            defconfig :u do
              field :a, :integer
            end
          end
          """)

        assert module.validate(a: 1, other: 2) == {:ok, expected}
      end
    end

    test "deep values do no harm" do
      deep = Enum.reduce(1..10_000, 1, fn _, inner -> [inner] end)
      assert {:error, [%{code: :type}]} = Strict.validate(token_of_access: deep)
    end
  end

  @good [
    {:string, ["", "é"]},
    {:binary, [<<255>>]},
    {:integer, [-1, 0]},
    {:pos_integer, [1]},
    {:non_neg_integer, [0]},
    {:float, [1.5]},
    {:number, [1, 1.5]},
    {:boolean, [true, false]},
    {:atom, [:a]},
    {:module, [Enum, :lists]},
    {:duration, [0, 5, :infinity]},
    {:url, ["http://a", "https://u:p@h:1/x?y#z"]},
    {:map, [%{}, %{"a" => 1}]},
    {:keyword, [[], [a: 1]]},
    {:any, [1, "x", self()]},
    {{:enum, [1, :a]}, [1, :a]},
    {{:list, :integer}, [[], [1, 2]]},
    {{:map, :atom, :integer}, [%{}, %{a: 1}]},
    {{:tuple, [:atom, :integer]}, [{:a, 1}]},
    {{:or, [:integer, {:list, :string}]}, [1, ["x"]]},
    {Retry, [%{}, [attempts: 1]]}
  ]

  @bad [
    {:string, [<<255>>, :a, 1, ~c"x"]},
    {:binary, [1, :a]},
    {:integer, [1.0, "1"]},
    {:pos_integer, [0, -1]},
    {:non_neg_integer, [-1]},
    {:float, [1]},
    {:number, ["1"]},
    {:boolean, [1, "true"]},
    {:atom, [true, "a"]},
    {:module, [NoSuchModule.AtAll, "Enum"]},
    {:duration, [-1, 1.5, :forever]},
    {:url, ["", "x", "http://", "http://a b", 5]},
    {:map, [[], ~D[2020-01-01]]},
    {:keyword, [[1], %{}]},
    {{:enum, [1, :a]}, [2]},
    {{:list, :integer}, [["1"], 1, [1 | 2]]},
    {{:map, :atom, :integer}, [%{"a" => 1}, %{a: "1"}, []]},
    {{:tuple, [:atom, :integer]}, [{:a}, {1, :a}, []]},
    {{:or, [:integer, {:list, :string}]}, [1.5, [1]]},
    {Retry, [%{attempts: 0}, 5]}
  ]

  test "types hold what they say" do
    for {type, values} <- @good, value <- values do
      schema = [Field.build(:f, type, [])]
      assert {_, []} = Foundation.Config.Schema.Check.field(hd(schema), value, [:f]), inspect({type, value})
    end

    for {type, values} <- @bad, value <- values do
      field = Field.build(:f, type, [])
      assert {_, [_ | _]} = Foundation.Config.Schema.Check.field(field, value, [:f]), inspect({type, value})
    end
  end
end
