defmodule Foundation.Demo.Chart do
  @moduledoc false
  # Charts as inline SVG. Colours and fonts come from the page's style sheet. Pure.

  @width 720

  @doc "Escapes text for HTML and SVG."
  def escape(text) do
    text
    |> to_string()
    |> String.replace("&", "&amp;")
    |> String.replace("<", "&lt;")
    |> String.replace(">", "&gt;")
    |> String.replace("\"", "&quot;")
    |> String.replace("'", "&#39;")
  end

  @doc "Horizontal bars of `{label, value, text}`."
  def bars([], _title), do: ""

  def bars(rows, title) do
    row = 26
    label = 270
    most = rows |> Enum.map(&elem(&1, 1)) |> Enum.max() |> max(1)

    rows
    |> Enum.with_index()
    |> Enum.map(fn {{name, value, text}, index} ->
      y = index * row
      width = max(2, (@width - label - 150) * value / most)

      """
      <g><title>#{escape(name)}: #{escape(text)}</title>
      <text class="label" x="#{label - 8}" y="#{y + 17}" text-anchor="end">#{escape(shorten(name, 38))}</text>
      <rect class="bar" x="#{label}" y="#{y + 4}" width="#{number(width)}" height="18" rx="3"/>
      <text class="value" x="#{number(label + width + 8)}" y="#{y + 17}">#{escape(text)}</text></g>
      """
    end)
    |> svg(length(rows) * row, title)
  end

  @doc "A histogram of positive numbers in buckets that begin at 1, 2 and 5 of each decade; `unit` renders a bound."
  def histogram([], _unit, _title), do: ""

  def histogram(values, unit, title) do
    counts = Enum.frequencies_by(values, &bucket/1)
    {first, last} = counts |> Map.keys() |> Enum.min_max()
    most = counts |> Map.values() |> Enum.max()
    {height, base} = {220, 180}
    step = (@width - 40) / (last - first + 1)

    first..last
    |> Enum.map(fn bucket ->
      count = Map.get(counts, bucket, 0)
      tall = if count == 0, do: 0, else: max(2, (base - 24) * count / most)
      x = 20 + (bucket - first) * step

      """
      <g><title>#{escape(unit.(bound(bucket)))} to #{escape(unit.(bound(bucket + 1)))}: #{count}</title>
      <rect class="bar" x="#{number(x + 2)}" y="#{number(base - tall)}" width="#{number(step - 4)}" height="#{number(tall)}" rx="2"/>
      #{if count > 0, do: ~s(<text class="value" x="#{number(x + step / 2)}" y="#{number(base - tall - 6)}" text-anchor="middle">#{count}</text>)}
      <text class="tick" x="#{number(x)}" y="#{base + 18}" text-anchor="middle">#{escape(unit.(bound(bucket)))}</text></g>
      """
    end)
    |> Kernel.++([~s(<line class="axis" x1="20" x2="#{@width - 20}" y1="#{base}" y2="#{base}"/>)])
    |> svg(height, title)
  end

  @doc "Points of `{x, y, name}` on logarithmic axes; the units render the bounds."
  def scatter([], _x_unit, _y_unit, _title), do: ""

  def scatter(points, x_unit, y_unit, title) do
    {height, left, bottom} = {320, 70, 30}
    x = axis(points, 0, left, @width - 36)
    y = axis(points, 1, height - bottom, 12)

    dots =
      for {a, b, name} <- points do
        ~s(<circle class="dot" cx="#{number(x.at.(a))}" cy="#{number(y.at.(b))}" r="3"><title>#{escape(name)}: ) <>
          ~s(#{escape(x_unit.(a))}, #{escape(y_unit.(b))}</title></circle>)
      end

    [grid(x, :x, x_unit, {left, height - bottom}), grid(y, :y, y_unit, {left, height - bottom}), dots]
    |> svg(height, title)
  end

  defp axis(points, element, from, to) do
    {least, most} = points |> Enum.map(&max(elem(&1, element), 1)) |> Enum.min_max()
    {low, high} = {floor(:math.log10(least)), max(ceil(:math.log10(most)), floor(:math.log10(least)) + 1)}
    at = fn value -> from + (to - from) * (:math.log10(max(value, 1)) - low) / (high - low) end
    %{at: at, ticks: Enum.map(low..high, &Integer.pow(10, &1))}
  end

  defp grid(axis, :x, unit, {_left, bottom}) do
    for tick <- axis.ticks do
      x = number(axis.at.(tick))

      ~s(<line class="grid" x1="#{x}" x2="#{x}" y1="12" y2="#{bottom}"/>) <>
        ~s(<text class="tick" x="#{x}" y="#{bottom + 18}" text-anchor="middle">#{escape(unit.(tick))}</text>)
    end
  end

  defp grid(axis, :y, unit, {left, _bottom}) do
    for tick <- axis.ticks do
      y = axis.at.(tick)

      ~s(<line class="grid" x1="#{left}" x2="#{@width - 36}" y1="#{number(y)}" y2="#{number(y)}"/>) <>
        ~s(<text class="tick" x="#{left - 8}" y="#{number(y + 4)}" text-anchor="end">#{escape(unit.(tick))}</text>)
    end
  end

  @doc """
  Dots of `{x, y, name}` and a line of steps through `{x, y}` over the same time; `y` is on a scale of powers of two, `unit` renders
  an `x`.
  """
  def path([], _steps, _unit, _title), do: ""

  def path(points, steps, unit, title) do
    {height, left, bottom} = {240, 50, 30}
    last = points |> Enum.map(&elem(&1, 0)) |> Enum.max() |> max(1)
    top = points |> Enum.map(&elem(&1, 1)) |> Enum.max() |> :math.log2() |> ceil() |> max(1)
    x = fn value -> number(left + (@width - left - 36) * value / last) end
    y = fn value -> number(height - bottom + (12 - height + bottom) * :math.log2(value) / top) end

    lines =
      for power <- 0..top, at = y.(Integer.pow(2, power)) do
        ~s(<line class="grid" x1="#{left}" x2="#{@width - 36}" y1="#{at}" y2="#{at}"/>) <>
          ~s(<text class="tick" x="#{left - 8}" y="#{at}" text-anchor="end">#{Integer.pow(2, power)}</text>)
      end

    ends =
      for {at, anchor} <- [{0, "start"}, {last, "end"}],
          do:
            ~s(<text class="tick" x="#{x.(at)}" y="#{height - 8}" text-anchor="#{anchor}">#{escape(unit.(at))}</text>)

    dots =
      for {at, value, name} <- points,
          do:
            ~s(<circle class="dot" cx="#{x.(at)}" cy="#{y.(value)}" r="3"><title>#{escape(name)}</title></circle>)

    svg([lines, ends, dots, steps(steps, x, y)], height, title)
  end

  defp steps([], _x, _y), do: ""

  defp steps([{at, value} | rest], x, y) do
    drawn = for {at, value} <- rest, do: " H #{x.(at)} V #{y.(value)}"
    ~s(<path class="path" d="M #{x.(at)} #{y.(value)}#{drawn}"/>)
  end

  defp svg(content, height, title) do
    [
      ~s(<svg viewBox="0 0 #{@width} #{height}" role="img" aria-label="#{escape(title)}">),
      content,
      "</svg>"
    ]
  end

  # Three buckets a decade, from 1, 2 and 5.
  defp bucket(value) do
    decade = value |> max(1) |> :math.log10() |> floor()
    leading = max(value, 1) / Integer.pow(10, decade)
    3 * decade + if(leading >= 5, do: 2, else: if(leading >= 2, do: 1, else: 0))
  end

  defp bound(bucket), do: elem({1, 2, 5}, rem(bucket, 3)) * Integer.pow(10, div(bucket, 3))

  defp number(x), do: :erlang.float_to_binary(x / 1, decimals: 1)

  defp shorten(text, most) do
    if String.length(text) > most, do: String.slice(text, 0, most - 1) <> "…", else: text
  end
end
