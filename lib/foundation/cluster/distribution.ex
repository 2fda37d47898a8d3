defmodule Foundation.Cluster.Distribution do
  @moduledoc false
  # Makes this node one that others can connect to: starts epmd where none runs, and the distribution under a name.

  require Logger

  @epmd_ms 3_000
  @tries 5

  @type naming :: :short | {:long, String.t()}
  @type problem :: {:distribution, term}

  @doc """
  Starts the distribution unless it runs. `naming` says which host part a name without one gets: this host's short name,
  or the one given.
  """
  @spec ensure(map, naming) :: :ok | {:error, problem}
  def ensure(options, naming) do
    if Node.alive?(),
      do: set_cookie(options),
      else: with(:ok <- epmd(), :ok <- start(options, naming, @tries), do: set_cookie(options))
  end

  @doc "A name that no other node has: the release's, and 48 bits of when, where and which process."
  @spec generate(String.t()) :: String.t()
  def generate(base) do
    # Not from :crypto, whose library may take longer to load than everything else here.
    salt = {System.os_time(), System.pid(), make_ref(), :inet.gethostname()}
    bits = <<:erlang.phash2({1, salt}, 16_777_216)::24, :erlang.phash2({2, salt}, 16_777_216)::24>>
    "#{base}-#{Base.encode16(bits, case: :lower)}"
  end

  defp set_cookie(%{cookie: nil}), do: :ok

  defp set_cookie(%{cookie: cookie}) do
    Node.set_cookie(cookie)
    :ok
  end

  defp start(options, naming, tries) do
    {name, kind} = name(options, naming)

    case Node.start(name, kind) do
      {:ok, _pid} ->
        Logger.info("[cluster] this node is #{node()}")
        :ok

      {:error, {:already_started, _}} ->
        :ok

      # Someone else has the name, or had it a moment ago.
      {:error, reason} when tries > 1 and options.name == nil ->
        Logger.debug("[cluster] the name #{name} cannot be had: #{inspect(reason)}")
        start(options, naming, tries - 1)

      {:error, reason} ->
        {:error, {:distribution, {name, reason}}}
    end
  end

  defp name(%{name: nil}, {:long, host}), do: {:"#{base()}@#{host}", :longnames}
  defp name(%{name: nil}, :short), do: short(generate(base()))

  defp name(%{name: given}, naming) do
    text = to_string(given)

    case {String.split(text, "@"), naming} do
      {[_, host], _} -> {:"#{text}", kind(host)}
      {[name], {:long, host}} -> {:"#{name}@#{host}", :longnames}
      {[name], :short} -> short(name)
    end
  end

  defp kind(host), do: if(String.contains?(host, [".", ":"]), do: :longnames, else: :shortnames)

  # A host that does not know its own name can still have nodes that know each other.
  defp short(name) do
    {:ok, host} = :inet.gethostname()

    case :inet.gethostbyname(host) do
      {:ok, _} ->
        {:"#{name}", :shortnames}

      {:error, _} ->
        Logger.warning(
          "[cluster] the host name #{host} does not resolve; only nodes on this host can connect"
        )

        {:"#{name}@127.0.0.1", :longnames}
    end
  end

  @doc "What generated names begin with."
  @spec base() :: String.t()
  def base, do: System.get_env("RELEASE_NAME") || "foundation"

  # -- epmd --------------------------------------------------------------------------------------------------------

  defp epmd do
    cond do
      # Another module than erl_epmd does without the daemon.
      :init.get_argument(:epmd_module) != :error -> :ok
      epmd_answers?() -> :ok
      :init.get_argument(:start_epmd) == {:ok, [[~c"false"]]} -> :ok
      true -> start_epmd()
    end
  end

  defp start_epmd do
    case epmd_path() do
      nil ->
        {:error, {:distribution, :epmd_not_found}}

      path ->
        System.cmd(path, ["-daemon"], stderr_to_stdout: true)
        await_epmd(System.monotonic_time(:millisecond) + @epmd_ms)
    end
  end

  defp epmd_path do
    bundled =
      [:code.root_dir(), "erts-#{:erlang.system_info(:version)}", "bin", "epmd"]
      |> Enum.map(&to_string/1)
      |> Path.join()

    if File.regular?(bundled), do: bundled, else: System.find_executable("epmd")
  end

  defp await_epmd(deadline) do
    cond do
      epmd_answers?() ->
        :ok

      System.monotonic_time(:millisecond) > deadline ->
        {:error, {:distribution, :epmd_does_not_answer}}

      true ->
        receive do
        after
          5 -> await_epmd(deadline)
        end
    end
  end

  defp epmd_answers?, do: match?({:ok, _}, :erl_epmd.names())
end
