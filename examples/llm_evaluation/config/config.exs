import Config

config :logger, level: :warning

config :foundation, mabeam: true
