defmodule Foundation.Forwarder do
  @moduledoc false
  # Runs the forwarder of native/foundation_sim: a path that can be long, lossy, or cut.

  @doc """
  Starts one to `port` of this host. Options: `delay_ms:` (one way), `loss:` (of datagrams), `seed:`, `window:` (bytes a TCP
  connection has under way in a round trip), and the addresses
  `to:` and `on:` ("127.0.0.1"). The forwarder ends with the calling process, or by `stop/1`.
  """
  def start(port, options \\ []) do
    here = "127.0.0.1"
    on = options[:on] || here

    arguments =
      ["--to", "#{options[:to] || here}:#{port}", "--listen", "#{on}:#{options[:listen] || 0}"] ++
        for {key, name} <- [delay_ms: "--delay-ms", loss: "--loss", seed: "--seed", window: "--window"],
            value = options[key],
            argument <- [name, to_string(value)],
            do: argument

    settings = [:binary, {:line, 200}, :exit_status, args: arguments]
    process = Port.open({:spawn_executable, executable()}, settings)

    receive do
      {^process, {:data, {:eol, "listening " <> listening}}} ->
        %{process: process, port: listening |> String.split(":") |> List.last() |> String.to_integer()}

      {^process, {:exit_status, status}} ->
        raise "the forwarder ended with status #{status}"
    after
      10_000 -> raise "the forwarder says nothing"
    end
  end

  def cut(forwarder), do: steer(forwarder, "cut")
  def heal(forwarder), do: steer(forwarder, "heal")
  def delay(forwarder, ms), do: steer(forwarder, "delay #{ms}")

  def stop(%{process: process}) do
    if Port.info(process), do: Port.close(process)
    :ok
  end

  defp steer(%{process: process}, line) do
    true = Port.command(process, line <> "\n")
    :ok
  end

  @doc "Builds it, which may take minutes where cargo has not yet: not within the time that a test has."
  def ready do
    _ = executable()
    :ok
  end

  # Built once a VM, with the profile of the other tests; cargo finds that there is nothing to do.
  defp executable do
    with nil <- :persistent_term.get(__MODULE__, nil) do
      root = Path.expand("../..", __DIR__)
      target = Path.expand(System.get_env("CARGO_TARGET_DIR", "target"), root)
      cargo = System.find_executable("cargo") || Path.expand("~/.cargo/bin/cargo")
      build = ~w(build --quiet --profile checked --locked --package foundation_sim --bin forwarder)
      {_, 0} = System.cmd(cargo, build, cd: root, stderr_to_stdout: true)
      path = Path.join(target, "checked/forwarder")
      :persistent_term.put(__MODULE__, path)
      path
    end
  end
end
