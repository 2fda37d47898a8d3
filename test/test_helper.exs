# The services' reset functions work only in test mode; the application is already running at this point.
Application.put_env(:foundation, :test_mode, true)
Logger.configure(level: :warning)

ExUnit.start(exclude: [:soak, :slow], capture_log: true)
