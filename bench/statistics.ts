/** Returns a quantile of sorted values. */
export const quantile = (sorted: readonly number[], part: number): number =>
  sorted[Math.floor((sorted.length - 1) * part)]!

export const ordered = (values: readonly number[]): number[] => values.toSorted((one, other) => one - other)

export const median = (values: readonly number[]): number => {
  const sorted = ordered(values)
  return (quantile(sorted, 0.5) + sorted[Math.ceil((sorted.length - 1) / 2)]!) / 2
}

/** Returns the median and, in parentheses, the quartiles. */
export function spread (values: readonly number[], digits: number): string {
  const sorted = ordered(values)
  const [low, high] = [0.25, 0.75].map((part) => quantile(sorted, part).toFixed(digits))
  return `${median(values).toFixed(digits)} (${low}-${high})`
}

/** Returns a table in Markdown, aligned to be readable as plain text. */
export function tableOf (head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((cells) => cells[column]!.length)))
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)).join(' | ')} |`
  const rule = widths.map((width, column) => column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)
  return [line(head), line(rule), ...rows.map(line)].join('\n')
}
