import { linesOf, markdownOf, measure } from '../test/support/hostile.js'

// Compares this collection and others on the same hostile deliveries: `npm run peers`, with `-- --markdown` for the
// table of docs/peers.md.

const tidies: (() => unknown)[] = []
const measured = await measure({ teardown: (tidy) => { tidies.push(tidy) } })
for (const tidy of tidies) await tidy()

if (process.argv.includes('--markdown')) {
  console.log(markdownOf(measured))
} else {
  const lines = linesOf(measured, { refused: 'refused', accepted: 'ACCEPTED', none: '-' })
  const whys = ['why it is to be refused', ...measured.map(({ row }) => row.why), '']
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((cells) => cells[column]!.length)))
  for (const [index, cells] of lines.entries()) {
    console.log([...cells.map((cell, column) => cell.padEnd(widths[column]!)), whys[index]].join('  ').trimEnd())
  }
}
