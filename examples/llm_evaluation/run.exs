# mix run run.exs [--items N] [--budget UNITS] [--seed N] [--concurrency N]
#
# EVALUATION_DIR names the directory of the results; a second run goes on with what is there.

switches = [items: :integer, budget: :string, seed: :integer, concurrency: :integer]
{options, []} = OptionParser.parse!(System.argv(), strict: switches)

options |> LlmEvaluation.run() |> LlmEvaluation.Report.render() |> IO.write()
