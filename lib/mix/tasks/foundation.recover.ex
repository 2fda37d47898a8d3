defmodule Mix.Tasks.Foundation.Recover do
  @shortdoc "Makes this node the only member of a group that has lost its majority"
  @moduledoc """
  Brings a group back whose majority will never return.

      mix foundation.recover --dir /var/lib/my_app/consensus --node a@host
      mix foundation.recover --dir /var/lib/my_app/consensus --node a@host --group foundation \\
        --word "the majority is lost"

  The first form names the groups that the directory holds and changes nothing. The second makes the node the only voter
  of the group, with the log it has. **What was committed by the lost majority and is not in this log is gone**, and should
  a lost member come back it must not be started with its old directory. So this is refused without the word, letter by
  letter, and while an application uses the directory.

  What to do, in order:

    1. Stop the application on every node that is left.
    2. Look at the groups on each survivor; choose the one whose log is longest.
    3. Run the second form there, and start the application there.
    4. On the other survivors delete the directory, and start them: they join again.

  Options: `--dir`, the `dir:` of `config :foundation, consensus:`; `--node`, the name of the node that owned it; `--group`;
  `--word`.
  """

  use Mix.Task

  alias Foundation.Distributed.Consensus.Recovery

  @switches [dir: :string, node: :string, group: :string, word: :string]

  @impl Mix.Task
  def run(arguments) do
    {options, rest, invalid} = OptionParser.parse(arguments, strict: @switches)
    if rest != [] or invalid != [], do: Mix.raise("unknown arguments: #{inspect(rest ++ invalid)}")
    Mix.Task.run("compile")

    dir = options[:dir] || Mix.raise("--dir is missing: the directory of the log")

    node =
      options[:node] || Mix.raise("--node is missing: the name of the node that the directory belongs to")

    act(dir, node, options[:group], options[:word])
  end

  defp act(dir, node, nil, _word) do
    case Recovery.groups(dir, node) do
      {:ok, []} -> Mix.shell().info("no groups in #{dir}")
      {:ok, groups} -> Enum.each(groups, &Mix.shell().info(line(&1)))
      {:error, reason} -> Mix.raise("#{dir} cannot be read: #{inspect(reason)}")
    end
  end

  defp act(dir, node, group, word) do
    case Recovery.recover(dir, node, group, word) do
      :ok ->
        Mix.shell().info("#{node} is the only member of #{group} now; start the application on it")

      {:error, :no_word} ->
        Mix.raise(
          "refused: what only the lost members know would be given up. If they are lost for good, add --word " <>
            inspect(Recovery.word())
        )

      {:error, reason} ->
        Mix.raise("not recovered: #{inspect(reason)}")
    end
  end

  defp line(%{group: group, last_index: last, term: term, voters: voters}),
    do: "#{group}: term #{term}, last entry #{last}, members #{Enum.join(voters, ", ")}"
end
