# mix run run.exs [--apps NAMES] [--limit N] [--analysts N] [--no-kill]

switches = [apps: :string, limit: :integer, analysts: :integer, kill: :boolean]
{options, []} = OptionParser.parse!(System.argv(), strict: switches)

options
|> Enum.map(fn
  {:apps, names} -> {:apps, String.split(names, ",", trim: true)}
  option -> option
end)
|> AstAnalysis.run()
|> AstAnalysis.Report.render()
|> IO.write()
