import Config

# Results are events, and these survive the end of the program.
config :foundation,
  events: [path: Path.expand(System.get_env("EVALUATION_DIR", "_evaluation")), sync: {:interval, 100}]
