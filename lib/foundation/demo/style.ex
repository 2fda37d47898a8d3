defmodule Foundation.Demo.Style do
  @moduledoc false
  # The style sheet of the report, light and dark.

  @sheet """
  :root { --bg: #fbfaf8; --card: #fff; --ink: #1d2129; --soft: #626b78; --line: #e3e1dc; --bar: #4f6bd8; --dot: #4f6bd880; }
  @media (prefers-color-scheme: dark) {
    :root { --bg: #14161a; --card: #1c1f25; --ink: #e8e6e1; --soft: #9aa3b0; --line: #31353d; --bar: #7f97f5; --dot: #7f97f580; }
  }
  * { box-sizing: border-box; }
  body { margin: 0; background: var(--bg); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
  main { max-width: 860px; margin: 0 auto; padding: 32px 20px 64px; }
  h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 8px; letter-spacing: -0.02em; }
  h2 { font-size: 1.2rem; margin: 0 0 16px; }
  h3 { font-size: 0.95rem; margin: 28px 0 10px; color: var(--soft); font-weight: 600; }
  header p, footer, section p { color: var(--soft); }
  footer { margin-top: 32px; font-size: 0.85rem; }
  section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 22px; margin-top: 20px; }
  .tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(120px, 1fr)); gap: 12px; margin-top: 20px; }
  .tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 14px 16px; }
  .tile b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
  .tile span { color: var(--soft); font-size: 0.85rem; }
  .scroll { overflow-x: auto; }
  table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
  th, td { text-align: left; padding: 6px 10px; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
  td:first-child { min-width: 9em; }
  th { color: var(--soft); font-weight: 600; }
  .n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
  pre { background: var(--bg); border: 1px solid var(--line); border-radius: 8px; padding: 14px; white-space: pre-wrap;
    font: 0.82rem/1.45 ui-monospace, SFMono-Regular, Menlo, monospace; margin: 0 0 12px; }
  summary { cursor: pointer; color: var(--soft); margin-bottom: 10px; }
  svg { display: block; width: 100%; height: auto; font-family: inherit; }
  .bar { fill: var(--bar); }
  .dot { fill: var(--dot); }
  .path { fill: none; stroke: var(--bar); stroke-width: 2; }
  .axis, .grid { stroke: var(--line); }
  .label { fill: var(--ink); font-size: 12px; }
  .value, .tick { fill: var(--soft); font-size: 11px; font-variant-numeric: tabular-nums; }
  """

  @doc "CSS of the report."
  def sheet, do: @sheet
end
