defmodule Foundation.Types.Config do
  @moduledoc """
  Holds the whole configuration: six sections of plain maps.

  A new struct carries the defaults. It behaves like a map for `Access`, so `config[:ai][:model]` and
  `put_in(config, [:dev, :debug_mode], true)` work. `inspect/1` hides the API key.
  """

  @behaviour Access

  @type ai_config :: %{
          provider: :mock | :openai | :anthropic | :gemini,
          api_key: String.t() | nil,
          model: String.t(),
          analysis: %{max_file_size: pos_integer, timeout: pos_integer, cache_ttl: pos_integer},
          planning: %{
            default_strategy: :balanced | :fast | :thorough,
            performance_target: float,
            sampling_rate: float
          }
        }

  @type capture_config :: %{
          ring_buffer: %{
            size: pos_integer,
            max_events: pos_integer,
            overflow_strategy: :drop_oldest | :drop_newest | :block,
            num_buffers: :schedulers | pos_integer
          },
          processing: %{batch_size: pos_integer, flush_interval: pos_integer, max_queue_size: pos_integer},
          vm_tracing: %{
            enable_spawn_trace: boolean,
            enable_exit_trace: boolean,
            enable_message_trace: boolean,
            trace_children: boolean
          }
        }

  @type storage_config :: %{
          hot: %{max_events: pos_integer, max_age_seconds: pos_integer, prune_interval: pos_integer},
          warm: %{
            enable: boolean,
            path: String.t(),
            max_size_mb: pos_integer,
            compression: :zstd | :gzip | :none
          },
          cold: %{enable: boolean}
        }

  @type interface_config :: %{
          query_timeout: pos_integer,
          max_results: pos_integer,
          enable_streaming: boolean
        }

  @type dev_config :: %{debug_mode: boolean, verbose_logging: boolean, performance_monitoring: boolean}

  @type infrastructure_config :: %{
          rate_limiting: %{
            default_rules: %{required(atom) => %{scale: pos_integer, limit: pos_integer}},
            enabled: boolean,
            cleanup_interval: pos_integer
          },
          circuit_breaker: %{
            default_config: %{
              failure_threshold: pos_integer,
              recovery_time: pos_integer,
              call_timeout: pos_integer
            },
            enabled: boolean
          },
          connection_pool: %{
            default_config: %{size: pos_integer, max_overflow: non_neg_integer, strategy: :lifo | :fifo},
            enabled: boolean
          }
        }

  @type t :: %__MODULE__{
          ai: ai_config,
          capture: capture_config,
          storage: storage_config,
          interface: interface_config,
          dev: dev_config,
          infrastructure: infrastructure_config
        }

  defstruct ai: %{
              provider: :mock,
              api_key: nil,
              model: "gpt-4",
              analysis: %{max_file_size: 1_000_000, timeout: 30_000, cache_ttl: 3600},
              planning: %{default_strategy: :balanced, performance_target: 0.01, sampling_rate: 1.0}
            },
            capture: %{
              ring_buffer: %{
                size: 1024,
                max_events: 1000,
                overflow_strategy: :drop_oldest,
                num_buffers: :schedulers
              },
              processing: %{batch_size: 100, flush_interval: 50, max_queue_size: 1000},
              vm_tracing: %{
                enable_spawn_trace: true,
                enable_exit_trace: true,
                enable_message_trace: false,
                trace_children: true
              }
            },
            storage: %{
              hot: %{max_events: 100_000, max_age_seconds: 3600, prune_interval: 60_000},
              warm: %{enable: false, path: "./foundation_data", max_size_mb: 100, compression: :zstd},
              cold: %{enable: false}
            },
            interface: %{query_timeout: 10_000, max_results: 1000, enable_streaming: true},
            dev: %{debug_mode: false, verbose_logging: false, performance_monitoring: true},
            infrastructure: %{
              rate_limiting: %{
                default_rules: %{
                  api_calls: %{scale: 60_000, limit: 100},
                  db_queries: %{scale: 60_000, limit: 500},
                  file_operations: %{scale: 1_000, limit: 10}
                },
                enabled: true,
                cleanup_interval: 300_000
              },
              circuit_breaker: %{
                default_config: %{failure_threshold: 5, recovery_time: 30_000, call_timeout: 5_000},
                enabled: true
              },
              connection_pool: %{
                default_config: %{size: 10, max_overflow: 5, strategy: :lifo},
                enabled: true
              }
            }

  @doc """
  The defaults.

      iex> Foundation.Types.Config.new().ai.provider
      :mock
  """
  @spec new() :: t
  def new, do: %__MODULE__{}

  @doc """
  The defaults with the given sections merged in, maps within maps; anything else replaces what was there.

      iex> config = Foundation.Types.Config.new(dev: %{debug_mode: true})
      iex> {config.dev.debug_mode, config.dev.performance_monitoring}
      {true, true}
  """
  @spec new(keyword) :: t
  def new(overrides) when is_list(overrides) do
    Enum.reduce(overrides, new(), fn {key, value}, config ->
      Map.put(config, key, deep_merge(Map.get(config, key), value))
    end)
  end

  @doc "A section, as `Access` asks for it."
  @impl Access
  @spec fetch(t, atom) :: {:ok, term} | :error
  def fetch(%__MODULE__{}, :__struct__), do: :error
  def fetch(%__MODULE__{} = config, key), do: Map.fetch(config, key)

  @doc """
  Reads and replaces a section, as `Access` asks for it; a built-in section that is popped is back to its
  default.
  """
  @impl Access
  @spec get_and_update(t, atom, (term -> {term, term} | :pop)) :: {term, t}
  def get_and_update(%__MODULE__{} = config, key, fun) do
    case fun.(Map.get(config, key)) do
      {got, value} -> {got, Map.put(config, key, value)}
      :pop -> pop(config, key)
    end
  end

  @doc "Takes a section out, as `Access` asks for it; a built-in section is back to its default then."
  @impl Access
  @spec pop(t, atom) :: {term, t}
  def pop(%__MODULE__{} = config, key) do
    {value, rest} = Map.pop(config, key)

    case Map.fetch(new(), key) do
      {:ok, default} -> {value, Map.put(rest, key, default)}
      :error -> {value, rest}
    end
  end

  defp deep_merge(%{} = left, %{} = right), do: Map.merge(left, right, fn _, a, b -> deep_merge(a, b) end)
  defp deep_merge(_left, right), do: right
end

defimpl Inspect, for: Foundation.Types.Config do
  import Inspect.Algebra

  def inspect(config, opts) do
    sections = Map.new(Map.from_struct(config), &shown/1)
    concat(["#Foundation.Types.Config<", to_doc(sections, opts), ">"])
  end

  defp shown({name, %{} = section}),
    do: {name, Map.new(section, fn {key, value} -> {key, hide(key, value)} end)}

  defp shown(other), do: other

  defp hide(key, value) when key in [:api_key, :encryption_key] and not is_nil(value), do: "[REDACTED]"
  defp hide(_key, value), do: value
end
