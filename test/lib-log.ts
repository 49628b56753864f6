import type { FastifyBaseLogger } from 'fastify'
import t from 'tap'
import { isEnabled, tell } from '../plugins/lib/log.js'

const fail = (): never => { throw new Error('canary') }
const loggerOf = (logger: object) => logger as FastifyBaseLogger

t.test('what is told is logged at its level, and a logger that throws stops nobody', async (t) => {
  const lines: unknown[] = []
  const logger = loggerOf({ warn: (...line: unknown[]) => { lines.push(line) }, error: fail })
  tell(logger, 'warn', { a: 1 }, 'a message')
  tell(logger, 'error', { a: 1 }, 'a message')
  tell(logger, 'info', { a: 1 }, 'a message')
  t.strictSame(lines, [[{ a: 1 }, 'a message']])
})

t.test('a logger that cannot say whether a level is on is asked to log', async (t) => {
  const asked: string[] = []
  const logger = loggerOf({ isLevelEnabled: (level: string) => asked.push(level) > 1 })
  t.equal(isEnabled(logger, 'debug'), false)
  t.equal(isEnabled(logger, 'info'), true)
  t.strictSame(asked, ['debug', 'info'])
  for (const logger of [{}, { isLevelEnabled: () => undefined }, { isLevelEnabled: fail }, { isLevelEnabled: 5 }]) {
    t.equal(isEnabled(loggerOf(logger), 'debug'), true)
  }
})
