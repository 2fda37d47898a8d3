defmodule Foundation.Build.Native do
  @moduledoc false
  # Builds native/foundation_nif with cargo and puts the library into priv/native.
  #
  # The digest of everything cargo reads is kept beside the library: when it still holds, cargo is not started. The
  # library is copied under a temporary name and renamed, so that a VM which has the old one mapped keeps it whole.

  @least_rust {1, 91}
  @library "foundation_nif"

  def compile(root) do
    target = Path.join([root, "priv", "native", @library <> ".so"])

    case System.get_env("FOUNDATION_NIF_PATH") do
      path when path in [nil, ""] -> build(root, target)
      path -> prebuilt(path, target)
    end
  end

  def clean(root), do: File.rm_rf!(Path.join([root, "priv", "native"]))

  defp prebuilt(path, target) do
    if File.regular?(path) do
      install(path, target, digest([path]))
    else
      {:error, "FOUNDATION_NIF_PATH is #{inspect(path)}, and no such file exists"}
    end
  end

  defp build(root, target) do
    digest = digest(inputs(root))

    if File.regular?(target) and File.read(stamp(target)) == {:ok, digest} do
      {:noop, target}
    else
      with {:ok, cargo} <- cargo(), {:ok, built} <- run(cargo, root), do: install(built, target, digest)
    end
  end

  defp run(cargo, root) do
    Mix.shell().info("Compiling native/#{@library} (cargo build --release)")
    directory = System.get_env("CARGO_TARGET_DIR", "target")

    args =
      ~w(build --release --locked --package #{@library} --manifest-path) ++ [Path.join(root, "Cargo.toml")]

    case System.cmd(cargo, args, cd: root, into: IO.stream(:stdio, :line), stderr_to_stdout: true) do
      {_, 0} -> {:ok, Path.join([Path.expand(directory, root), "release", library_name()])}
      {_, status} -> {:error, "cargo build failed with status #{status}; its messages are above"}
    end
  end

  defp library_name do
    case :os.type() do
      {:unix, :darwin} -> "lib#{@library}.dylib"
      {:unix, _} -> "lib#{@library}.so"
      {:win32, _} -> "#{@library}.dll"
    end
  end

  defp cargo do
    {major, minor} = @least_rust

    advice =
      "install Rust #{major}.#{minor} or later from https://rustup.rs, or set FOUNDATION_NIF_PATH to a built library"

    with path when is_binary(path) <- System.find_executable("cargo"),
         {text, 0} <- System.cmd(path, ["--version"], stderr_to_stdout: true),
         [_, a, b] <- Regex.run(~r/cargo (\d+)\.(\d+)/, text) do
      if {String.to_integer(a), String.to_integer(b)} >= @least_rust,
        do: {:ok, path},
        else: {:error, "Foundation's native library needs a newer cargo than #{a}.#{b}: #{advice}"}
    else
      _ -> {:error, "Foundation's native library is built with cargo, which was not found: #{advice}"}
    end
  end

  defp install(source, target, digest) do
    File.mkdir_p!(Path.dirname(target))
    temporary = "#{target}.#{System.pid()}"
    File.cp!(source, temporary)
    File.rename!(temporary, target)
    File.write!(stamp(target), digest)
    {:ok, target}
  end

  defp stamp(target), do: target <> ".digest"

  defp inputs(root) do
    for pattern <- ~w(Cargo.toml Cargo.lock native/*/Cargo.toml native/*/src/**/*.rs),
        file <- root |> Path.join(pattern) |> Path.wildcard() |> Enum.sort(),
        do: file
  end

  defp digest(files) do
    files
    |> Enum.reduce(:crypto.hash_init(:sha256), fn file, hash ->
      hash |> :crypto.hash_update(Path.basename(file)) |> :crypto.hash_update(File.read!(file))
    end)
    |> :crypto.hash_final()
    |> Base.encode16(case: :lower)
  end
end

defmodule Mix.Tasks.Compile.FoundationNative do
  @moduledoc false
  use Mix.Task.Compiler

  @root __DIR__

  @impl true
  def run(_args) do
    case Foundation.Build.Native.compile(@root) do
      {:noop, _} -> {:noop, []}
      {:ok, _} -> linked()
      {:error, message} -> Mix.raise(message)
    end
  end

  @impl true
  def clean, do: Foundation.Build.Native.clean(@root)

  # _build links to priv only when priv exists at the time.
  defp linked do
    Mix.Project.build_structure()
    {:ok, []}
  end
end

defmodule Foundation.MixProject do
  use Mix.Project

  @version "2.1.0-dev"
  @source "https://github.com/foundation-beam/foundation"

  def project do
    [
      app: :foundation,
      version: @version,
      elixir: "~> 1.14",
      description:
        "Clustered, observable, self-protecting applications on the BEAM, with a native engine in Rust",
      start_permanent: Mix.env() == :prod,
      compilers: [:foundation_native] ++ Mix.compilers(),
      elixirc_paths: elixirc_paths(Mix.env()),
      erlc_paths: ["lib"],
      # The tests use applications of OTP, and PropEr, that the library itself does not.
      prune_code_paths: Mix.env() != :test,
      test_coverage: [
        summary: [threshold: 0],
        ignore_modules: [
          ~r"^Foundation\.Native(\.|$)",
          ~r"Foundation\.(NifCatalog|LogProbe|Eventually|TestSupport)"
        ]
      ],
      deps: deps(),
      package: package(),
      docs: docs(),
      source_url: @source
    ]
  end

  def application do
    [mod: {Foundation.Application, []}, extra_applications: [:logger, :crypto, :inets, :ssl, :public_key]]
  end

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_), do: ["lib"]

  # Nothing here is needed to build, test or run: each is used when it is loaded.
  defp deps do
    if Code.ensure_loaded?(Hex) and System.get_env("FOUNDATION_NO_HEX") == nil do
      [
        {:telemetry, "~> 1.2", optional: true},
        # Compiled first where it is there, so that ours does not stand in for it.
        {:libcluster, "~> 3.3", optional: true},
        {:ex_doc, "~> 0.34", only: :dev, runtime: false}
      ]
    else
      []
    end
  end

  defp package do
    [
      licenses: ["MIT"],
      links: %{"Source" => @source},
      files:
        ~w(lib native/*/src native/*/benches native/*/tests native/*/Cargo.toml Cargo.toml Cargo.lock priv/.gitkeep mix.exs .formatter.exs
                README.md CHANGELOG.md LICENSE guides)
    ]
  end

  defp docs do
    [main: "readme", extras: ["README.md", "CHANGELOG.md"] ++ Path.wildcard("guides/*.md")]
  end
end
