defmodule Foundation.DocumentsTest do
  # What README, CHANGELOG and guides point to is there: files, headings, modules, functions, tasks of Mix and make.
  use ExUnit.Case, async: true

  @documents ["README.md", "CHANGELOG.md"] ++
               Path.wildcard("guides/*.md") ++ Path.wildcard("examples/*/README.md")

  test "relative links lead to files, and to headings in them" do
    broken =
      for document <- @documents,
          [link] <- Regex.scan(~r/\]\(([^)\s]+)\)/, prose(document), capture: :all_but_first),
          not (link =~ ~r/^[a-z]+:/),
          [path | heading] = String.split(link, "#", parts: 2),
          target = if(path == "", do: document, else: inside(document, path)),
          not (File.exists?(target) and Enum.all?(heading, &(&1 in headings(target)))),
          do: {document, link}

    assert broken == []
  end

  test "every guide is linked from the README or from a guide" do
    linked =
      for document <- @documents,
          [link] <- Regex.scan(~r/\]\(([^)#\s]+\.md)/, prose(document), capture: :all_but_first),
          target = inside(document, link),
          target != document,
          uniq: true,
          do: target

    assert Path.wildcard("guides/*.md") -- linked == []
  end

  test "guides named in the code exist" do
    missing =
      for file <- Path.wildcard("{lib,native,bench,bin}/**/*.{ex,exs,rs}"),
          [guide] <- Regex.scan(~r"\bguides/\w+\.md\b", File.read!(file)),
          not File.exists?(guide),
          do: {file, guide}

    assert missing == []
  end

  test "modules and functions written with their full names exist" do
    missing =
      for document <- @documents,
          [_, name | function] <-
            Regex.scan(~r/`(Foundation(?:\.[A-Z]\w*)*)(?:\.([a-z]\w*[?!]?)\/(\d))?`/, prose(document)),
          not there?(Module.concat([name]), function),
          uniq: true,
          do: {document, Enum.join([name | function], " ")}

    assert missing == []
  end

  test "commands exist" do
    tasks =
      for [task] <- Regex.scan(~r/^([a-z]+):/m, File.read!("Makefile"), capture: :all_but_first), do: task

    missing =
      for document <- @documents,
          [kind, name] <- Regex.scan(~r/`(make|mix) ([a-z_.]+)/, prose(document), capture: :all_but_first),
          not if(kind == "make", do: name in tasks, else: Mix.Task.get(name) != nil),
          uniq: true,
          do: {document, kind <> " " <> name}

    assert missing == []
  end

  # Without blocks of code.
  defp prose(document), do: Regex.replace(~r/^```.*?^```$/ms, File.read!(document), "")

  defp inside(document, path),
    do: document |> Path.dirname() |> Path.join(path) |> Path.relative_to_cwd() |> squeezed()

  defp squeezed(path), do: path |> Path.expand() |> Path.relative_to_cwd()

  defp headings(document) do
    for [heading] <- Regex.scan(~r/^#+ (.*)$/m, prose(document), capture: :all_but_first),
        do: heading |> String.downcase() |> String.replace(~r/[^\w\- ]/u, "") |> String.replace(" ", "-")
  end

  defp there?(module, []), do: Code.ensure_loaded?(module)

  defp there?(module, [name, arity]) do
    arity = String.to_integer(arity)
    name = String.to_atom(name)

    Code.ensure_loaded?(module) and
      (function_exported?(module, name, arity) or macro_exported?(module, name, arity) or
         callback?(module, {name, arity}))
  end

  defp callback?(module, callback) do
    function_exported?(module, :behaviour_info, 1) and callback in module.behaviour_info(:callbacks)
  end
end
