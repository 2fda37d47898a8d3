defmodule Foundation.DistributedSupervisor.Store.Consensus do
  @moduledoc false
  # Children as values of the coordination group, in buckets by the hash of their names; a bucket is changed when it is
  # what was read.

  @behaviour Foundation.DistributedSupervisor.Store

  alias Foundation.Distributed.Consensus
  alias Foundation.Distributed.Consensus.{Codec, Roster}
  alias Foundation.Distributed.Coordination.{Formation, Keeper}

  @buckets 32
  @attempts 20

  @impl true
  def open(name) do
    with :ok <- Formation.ensure(Consensus.default_group()), do: {:ok, name}
  end

  @impl true
  def watch(name) do
    with {:ok, _kind, _handle, keeper} <- Roster.find(Consensus.default_group()) do
      Enum.each(0..(@buckets - 1), &Keeper.watch(keeper, :value, Codec.name({:key, key(name, &1)}), name))
    end
  end

  @impl true
  def all(name) do
    Enum.reduce_while(0..(@buckets - 1), {:ok, %{}}, fn bucket, {:ok, all} ->
      case read(name, bucket, :local) do
        {:ok, _version, children} -> {:cont, {:ok, Map.merge(all, children)}}
        error -> {:halt, error}
      end
    end)
  end

  @impl true
  def fetch(name, child) do
    with {:ok, _version, children} <- read(name, bucket(child), :linearizable), do: {:ok, children[child]}
  end

  @impl true
  def update(name, children, function) do
    children
    |> Enum.group_by(&bucket/1)
    |> Enum.reduce_while({:ok, %{}}, fn {bucket, children}, {:ok, done} ->
      case update(name, bucket, children, function, @attempts) do
        {:ok, changes} -> {:cont, {:ok, Map.merge(done, changes)}}
        error -> {:halt, error}
      end
    end)
  end

  defp update(_name, _bucket, _children, _function, 0), do: {:error, :busy}

  defp update(name, bucket, children, function, attempts) do
    with {:ok, version, before} <- read(name, bucket, :linearizable) do
      changes = Map.new(children, &{&1, function.(&1, before[&1])})

      case write(name, bucket, version, before, apply_all(before, changes)) do
        :ok -> {:ok, changes}
        :changed -> update(name, bucket, children, function, attempts - 1)
        error -> error
      end
    end
  end

  defp apply_all(children, changes) do
    Enum.reduce(changes, children, fn
      {name, {:put, child}}, children -> Map.put(children, name, child)
      {name, :delete}, children -> Map.delete(children, name)
      {_name, {:keep, _reason}}, children -> children
    end)
  end

  defp write(_name, _bucket, _version, same, same), do: :ok

  defp write(name, bucket, version, _before, children) do
    expect = if version == 0, do: :absent, else: version

    case Consensus.propose(Consensus.default_group(), {:put, key(name, bucket), children, expect}) do
      {:ok, _version} -> :ok
      {:error, {:conflict, _version, _value}} -> :changed
      {:error, reason} -> {:error, reason}
    end
  end

  defp read(name, bucket, consistency) do
    options = [consistency: consistency, version: true]

    case Consensus.get_value(Consensus.default_group(), key(name, bucket), options) do
      {:ok, children, version} -> {:ok, version, children}
      {:error, :not_found} -> {:ok, 0, %{}}
      error -> error
    end
  end

  defp bucket(child), do: :erlang.phash2(child, @buckets)
  defp key(name, bucket), do: {:foundation_supervisor, name, bucket}
end
