import type { Test } from '../test/support/host.js'
import { restartAll, runsIn, startLoad, startSeveral, statusesOf } from '../test/support/several.js'
import { ordered, quantile } from '../bench/statistics.js'

// Checks the claims of docs/several-instances.md on this machine: two example servers on one Redis behind nginx,
// restarted one after the other under load, then given a new secret. `npm run several -- 5 200`; exit status 1 if any
// answer is not the one that a healthy server would give.

const [ROUNDS, RATE] = [process.argv[2] ?? 5, process.argv[3] ?? 200].map(Number) as [number, number]
if (!Number.isSafeInteger(ROUNDS) || ROUNDS < 1 || !(RATE > 0)) {
  console.error('usage: npm run several -- [restarts of both servers = 5] [deliveries a second = 200]')
  process.exit(2)
}
const NEXT = 'the next secret of aghanim, of 32 bytes'

const tidies: (() => unknown)[] = []
const test: Test = { teardown: (tidy) => { tidies.unshift(tidy) } }
try {
  const { servers, nginx, lines } = await startSeveral(test)
  console.log(`nginx on ${nginx.origin}, servers on ${servers.map(({ port }) => port).join(' and ')}, ${RATE} deliveries a second`)
  const load = startLoad(nginx.origin, RATE)
  const began = performance.now()
  const seconds = (): string => `${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s`
  const matches = async (): Promise<number[][]> => Promise.all(servers.map((server) => server.matches('aghanim')))
  const tell = async (what: string): Promise<void> => {
    const [one, other] = (await matches()).map((counts) => counts.join(', '))
    console.log(`${seconds()}  ${what}: ${load.answers.length} answers; matches by secret ${one} and ${other}`)
  }

  for (let round = 1; round <= ROUNDS; round++) {
    await restartAll(servers)
    await tell(`restarted ${round} of ${ROUNDS}`)
  }
  await restartAll(servers, { AGHANIM_SECRET_NEXT: NEXT })
  await tell('old and new secret are live')
  load.sign({ aghanim: NEXT })
  await tell('the provider signs with the new one')
  await new Promise((resolve) => setTimeout(resolve, 3000))
  await tell('3 s later')
  await restartAll(servers, { AGHANIM_SECRET: NEXT })
  await tell('the old one is gone')
  await load.stop()
  for (const server of servers) await server.stop()

  const { answers } = load
  const times = ordered(answers.map(({ milliseconds }) => milliseconds))
  const failed = answers.filter(({ status }) => status !== 200 && status !== 204).length
  const again = nginx.log().filter(({ tries }) => tries.length > 1).length
  console.log(`\n${answers.length} deliveries in ${seconds().trim()}, answered ${JSON.stringify(statusesOf(answers))}`)
  console.log(`failed answers: ${failed}; given to the other server: ${again}; runs of a handler: ${runsIn(lines)}`)
  console.log(`milliseconds: median ${quantile(times, 0.5).toFixed(1)}, 99 % ${quantile(times, 0.99).toFixed(1)}, ` +
    `longest ${times.at(-1)!.toFixed(1)}`)
  if (failed > 0 || runsIn(lines) !== answers.length) process.exitCode = 1
} finally {
  for (const tidy of tidies) await tidy()
}
