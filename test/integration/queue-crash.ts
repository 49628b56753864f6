import type { ChildProcess } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { buildProgram, endProgram } from '../support/ledger/processes.js'
import { createQueueingHost, openQueue, SESSION } from '../support/queue.js'
import { noRedis, startRedis } from '../support/redis.js'

const COUNT = 24
const NAMES = Array.from({ length: COUNT }, (_, index) => `s${index}`)
const KILLS_AFTER = [3, 9, 15] // in completed jobs

t.test('a worker that is killed loses nothing', { skip: noRedis }, async (t) => {
  t.jobs = 2
  const folder = t.testdir()
  const startProgram = await buildProgram(t, folder)

  for (const [title, ordered, work] of [['its jobs are started again', false, 600], ['in order, too', true, 50]] as const) {
    t.test(title, async (t) => {
      const redis = await startRedis(t)
      const queue = openQueue(t, redis)
      const ledger = join(folder, `ledger-${ordered}`)
      const lines = () => !existsSync(ledger) ? [] : readFileSync(ledger, 'utf8').trim().split('\n').map((line) => line.split(' '))
      const done = () => lines().filter(([what]) => what === 'done').map(([, name]) => name!)
      /** Returns the id of the process that works on the current job. */
      const busy = async (): Promise<number> => {
        for (;;) {
          const [what, , , pid] = lines().at(-1)!
          if (what === 'begin') return Number(pid)
          await sleep(1)
        }
      }
      const start = () => startProgram({
        role: 'worker', redis: redis.url, queue: ordered ? ['verification'] : 'verification', ledger, work, lockDuration: 700, port: 0
      })

      let workers: ChildProcess[] = await Promise.all([start(), ...KILLS_AFTER.map(start)])
      const { deliver } = createQueueingHost(t, ordered ? [queue] : queue)
      for (const name of NAMES) await deliver(SESSION, name)
      let cutShort = 0
      for (const after of KILLS_AFTER) {
        while (done().length < after) await sleep(1)
        const pid = ordered ? await busy() : undefined
        const victim = workers.find((worker) => worker.pid === pid) ?? workers[0]!
        await endProgram(victim, 'SIGKILL')
        cutShort += new Set(lines().map(([, name]) => name)).size - new Set(done()).size
        workers = workers.filter((worker) => worker !== victim)
      }
      while (await queue.getCompletedCount() < COUNT) await sleep(10)
      t.strictSame([...new Set(done())].sort(), [...NAMES].sort(), 'nothing is lost')
      t.ok(cutShort > 0, 'some were in progress')
      if (ordered) t.strictSame([...new Set(done())], NAMES)
      t.equal(await queue.getFailedCount(), 0)
      t.comment(`${done().length - COUNT} done twice`)
      await Promise.all(workers.map((child) => endProgram(child, 'SIGTERM')))
    })
  }
})
