defmodule Foundation.Demo.Market.Lots do
  @moduledoc false
  # What is auctioned: modules of one application that are known from the same kind of chunk, some at a
  # time. The fee for a lot grows with its bytes. Pure.

  @lots 48
  @largest 40
  # Millionths of a unit for a byte.
  @fee 10

  @type kind :: :erlang | :elixir | :machine_code
  @type unit :: %{
          path: Path.t(),
          module: String.t(),
          md5: String.t(),
          application: String.t(),
          bytes: pos_integer,
          calls: [String.t()]
        }
  @type t :: %{
          id: String.t(),
          application: String.t(),
          kind: kind,
          units: [unit],
          bytes: pos_integer,
          fee: pos_integer,
          calls: [String.t()]
        }

  @doc "The lots of the modules that these facts are of."
  @spec of([map]) :: [t]
  def of(facts) do
    size = facts |> length() |> Kernel./(@lots) |> ceil() |> max(1) |> min(@largest)

    facts
    |> Enum.group_by(&{&1.application, kind(&1.source)}, &unit/1)
    |> Enum.sort()
    |> Enum.flat_map(fn {{application, kind}, units} ->
      units
      |> Enum.sort_by(& &1.path)
      |> Enum.chunk_every(size)
      |> Enum.with_index(1)
      |> Enum.map(fn {units, n} -> lot("#{application}/#{kind} #{n}", application, kind, units) end)
    end)
  end

  @doc "What is left of a lot, as a lot."
  @spec rest(t, [unit]) :: t
  def rest(lot, units) do
    bytes = sum(units)
    # A fee that was raised stays raised.
    fee = max(div(lot.fee * bytes, lot.bytes), 1)
    %{lot | units: units, bytes: bytes, fee: fee, calls: calls(units)}
  end

  @doc "The lot with a fee that is a half higher, because nobody wanted it."
  @spec dearer(t) :: t
  def dearer(lot), do: %{lot | fee: lot.fee + div(lot.fee, 2) + 1}

  @doc "What a bidder gets to know of a lot."
  @spec shown(t) :: map
  def shown(lot), do: lot |> Map.take([:application, :kind, :bytes, :fee, :calls])

  defp lot(id, application, kind, units) do
    bytes = sum(units)

    %{
      id: id,
      application: application,
      kind: kind,
      units: units,
      bytes: bytes,
      fee: bytes * @fee,
      calls: calls(units)
    }
  end

  defp unit(fact) do
    called = for {callee, _times} <- fact.callees, do: module_of(callee)

    fact
    |> Map.take([:path, :module, :md5, :application])
    |> Map.merge(%{bytes: max(fact.file_bytes, 1), calls: Enum.uniq(called)})
  end

  # "Enum.map/2", ":lists.map/2"
  defp module_of(callee), do: callee |> String.split(".") |> Enum.drop(-1) |> Enum.join(".")

  defp kind("elixir"), do: :elixir
  defp kind("abstract_code"), do: :erlang
  defp kind(_without_debug_information), do: :machine_code

  defp sum(units), do: units |> Enum.map(& &1.bytes) |> Enum.sum()
  defp calls(units), do: units |> Enum.flat_map(& &1.calls) |> Enum.uniq()
end
