import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runLedger } from '../test/support/ledger/run.js'

// Checks that no acknowledged delivery is lost, whatever dies: `npm run ledger -- [deliveries = 20000] [kills = 10]`.
// Two servers behind nginx, a worker that is killed this many times, a server that is restarted, a Redis that is
// killed. Exit status 1 if a delivery is lost.

const [count, kills] = [Number(process.argv[2] ?? 20_000), Number(process.argv[3] ?? 10)]
if (!Number.isSafeInteger(count) || count < 100 || !Number.isSafeInteger(kills) || kills < 0) {
  console.error('usage: npm run ledger -- [deliveries = 20000, at least 100] [kills = 10]')
  process.exit(2)
}

const tidies: (() => unknown)[] = []
const folder = mkdtempSync(join(tmpdir(), 'ledger-'))
tidies.push(() => rmSync(folder, { recursive: true, force: true }))
try {
  const test = { teardown: (tidy: () => unknown) => { tidies.unshift(tidy) } }
  const result = await runLedger(test, { count, kills, again: 10, copies: 5, folder })
  const { sends, answers, acknowledged, processed, lost, doubles, cutShort, dead, seconds } = result
  console.log(`${count} deliveries, ${sends} sends in ${seconds.toFixed(1)} s; worker killed ${kills} times`)
  for (const [answer, times] of [...answers].sort()) console.log(`  answered ${answer}  ${times}`)
  console.log(`acknowledged ${acknowledged}, worked on ${processed}, lost ${lost.length}, dead letters ${dead}`)
  console.log(`begun and cut short: ${cutShort}; done more than once:`)
  for (const [how, times] of Object.entries(doubles)) console.log(`  ${times}  ${how}`)
  if (acknowledged !== count || lost.length > 0 || dead > 0 || 'not explained' in doubles) process.exitCode = 1
} finally {
  for (const tidy of tidies) await tidy()
}
