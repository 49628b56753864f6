// Line plots as SVG, readable on light and dark screens. The same figures always produce the same file.

export interface Point { readonly x: number, readonly y: number, readonly low: number, readonly high: number }
export interface Series { readonly name: string, readonly points: readonly Point[] }

export interface Plot {
  readonly title: string
  readonly x: string
  readonly y: string
  /** Spaces points evenly, in order, each with its x below it: for values that grow by factors. */
  readonly even?: boolean
  readonly series: readonly Series[]
}

const WIDTH = 720
const HEIGHT = 400
const LEFT = 68
const RIGHT = 210
const TOP = 46
const BOTTOM = 56
const LABEL_HEIGHT = 15
const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #24292f } .title { font-size: 14px; font-weight: 600 }
  .paper { fill: #fff } .rule { stroke: #d0d7de } .axis { stroke: #57606a }
  .s0 { --c: #0969da } .s1 { --c: #bc4c00 } .s2 { --c: #1a7f37 } .s3 { --c: #8250df } .s4 { --c: #bf3989 }
  .s5 { --c: #6e7781 } .s6 { --c: #9a6700 } .s7 { --c: #1b7c83 } .line { fill: none; stroke: var(--c); stroke-width: 2 }
  .bar { stroke: var(--c) } .dot { fill: var(--c) } .name { fill: var(--c) }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .paper { fill: #0d1117 } .rule { stroke: #30363d } .axis { stroke: #8b949e }
    .s0 { --c: #58a6ff } .s1 { --c: #f0883e } .s2 { --c: #3fb950 } .s3 { --c: #bc8cff } .s4 { --c: #f778ba }
    .s5 { --c: #8b949e } .s6 { --c: #d29922 } .s7 { --c: #39c5cf }
  }`

const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
const text = (x: number, y: number, content: string, more = ''): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}"${more && ` ${more}`}>${escape(content)}</text>`

/** Returns a step of 1, 2 or 5 times a power of ten, of which `most` contains four to ten. */
function stepFor (most: number): number {
  const power = 10 ** Math.floor(Math.log10(most / 4))
  return power * [5, 2, 1].find((factor) => most / (power * factor) >= 4)!
}

/** Returns positions for labels as close to `wanted` as possible, in order, without overlap. */
function apart (wanted: readonly number[]): number[] {
  const order = wanted.map((_, index) => index).sort((one, other) => wanted[one]! - wanted[other]!)
  const places = [...wanted]
  for (const [rank, index] of order.entries()) {
    if (rank > 0) places[index] = Math.max(places[index]!, places[order[rank - 1]!]! + LABEL_HEIGHT)
  }
  const beyond = Math.max(0, ...places.map((place) => place - (HEIGHT - BOTTOM + 4)))
  return places.map((place) => place - beyond)
}

export function svgOf ({ title, x, y, even = false, series }: Plot): string {
  const all = series.flatMap(({ points }) => points)
  const xs = [...new Set(all.map((point) => point.x))].sort((one, other) => one - other)
  const most = Math.max(...all.map(({ high }) => high)) * 1.05
  const right = WIDTH - RIGHT
  const bottom = HEIGHT - BOTTOM
  const across = (value: number): number => even
    ? LEFT + 12 + (right - LEFT - 24) * (xs.indexOf(value) / Math.max(1, xs.length - 1))
    : LEFT + (right - LEFT) * (value / xs.at(-1)!)
  const up = (value: number): number => bottom - (bottom - TOP) * (value / most)
  const step = stepFor(most)
  const lines = Array.from({ length: Math.floor(most / step) + 1 }, (_, index) => index * step)
  const places = apart(series.map(({ points }) => up(points.at(-1)!.y) + 4))

  const drawn = series.map(({ name, points }, index) => `<g class="s${index}">
  <path class="line" d="M${points.map((point) => `${across(point.x).toFixed(1)} ${up(point.y).toFixed(1)}`).join('L')}"/>
  ${points.map((point) => {
    const at = across(point.x).toFixed(1)
    return `<path class="bar" d="M${at} ${up(point.low).toFixed(1)}V${up(point.high).toFixed(1)}"/>` +
      `<circle class="dot" cx="${at}" cy="${up(point.y).toFixed(1)}" r="3"/>`
  }).join('\n  ')}
  ${text(right + 10, places[index]!, name, 'class="name"')}
</g>`)
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escape(title)}">
<style>${STYLE}
</style>
<rect class="paper" width="${WIDTH}" height="${HEIGHT}"/>
${text(LEFT, 24, title, 'class="title"')}
${lines.map((value) => `<path class="rule" d="M${LEFT} ${up(value).toFixed(1)}H${right}"/>` +
    text(LEFT - 8, up(value) + 4, String(Number(value.toPrecision(3))), 'text-anchor="end"')).join('\n')}
<path class="axis" d="M${LEFT} ${bottom}H${right}"/>
${xs.map((value) => text(across(value), bottom + 18, value.toLocaleString('en'), 'text-anchor="middle"')).join('\n')}
${text((LEFT + right) / 2, HEIGHT - 14, x, 'text-anchor="middle"')}
${text(0, 0, y, `text-anchor="middle" transform="translate(18 ${(TOP + bottom) / 2}) rotate(-90)"`)}
${drawn.join('\n')}
</svg>
`
}
