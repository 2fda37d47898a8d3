defmodule Foundation.TidewaveEndpoint do
  @moduledoc """
  Serves Tidewave's development tools on <http://127.0.0.1:4040>.

  It runs only where the application environment `:environment` is `:dev` and the `:tidewave` package is loaded, on Bandit
  or Plug.Cowboy, whichever is there; elsewhere `start_link/1` answers `{:error, :not_available_in_production}`.
  """

  require Logger

  @port 4040

  @doc false
  def child_spec(opts) do
    %{
      id: __MODULE__,
      start: {__MODULE__, :start_link, [opts]},
      type: :worker,
      restart: :permanent,
      shutdown: 500
    }
  end

  @doc "Starts the endpoint. Without a web server there is a warning and `:ignore`."
  @spec start_link(term) :: Supervisor.on_start() | {:error, :not_available_in_production}
  def start_link(_opts) do
    if Application.get_env(:foundation, :environment, :prod) == :dev and Code.ensure_loaded?(Tidewave),
      do: serve(),
      else: {:error, :not_available_in_production}
  end

  defp serve do
    cond do
      Code.ensure_loaded?(Bandit) ->
        apply(Bandit, :start_link, [[plug: __MODULE__, ip: {127, 0, 0, 1}, port: @port]])

      Code.ensure_loaded?(Plug.Cowboy) ->
        apply(Plug.Cowboy, :http, [__MODULE__, [], [ip: {127, 0, 0, 1}, port: @port]])

      true ->
        Logger.warning("Tidewave is loaded, but neither Bandit nor Plug.Cowboy is: nothing is served")
        :ignore
    end
  end

  # The two functions of a plug.

  @doc false
  def init(_opts), do: apply(Tidewave, :init, [[]])

  @doc false
  def call(conn, opts) do
    case apply(Tidewave, :call, [conn, opts]) do
      %{state: :unset} = unanswered -> apply(Plug.Conn, :send_resp, [unanswered, 404, "Not found"])
      answered -> answered
    end
  end
end
