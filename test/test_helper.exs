# The services' reset functions work only in test mode; the application is already running at this point.
Application.put_env(:foundation, :test_mode, true)
Logger.configure(level: :warning)

# The table of the probe belongs to a process that outlives every test.
parent = self()

spawn(fn ->
  Foundation.LogProbe.install()
  send(parent, :installed)
  Process.sleep(:infinity)
end)

receive do: (:installed -> :ok)

# A busy machine may take its time to deliver what is waited for.
ExUnit.start(exclude: [:soak, :slow], capture_log: true, assert_receive_timeout: 10_000)
