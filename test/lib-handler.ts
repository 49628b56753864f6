import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { HANDLER_FAILED, INVALID_REPLY, TIMEOUT, type Answer } from '../plugins/lib/errors.js'
import { createHandlerRunner, type Work } from '../plugins/lib/handler.js'

const OK: Answer = { statusCode: 200, body: '{}', outcome: 'accepted', reason: 'handled' }
const WORK: Work<object> = { provider: 'test', handle: () => undefined, answer: () => OK }

/** Runs work to its end and tells what was called on the way. */
async function run (work: Partial<Work<object>>, handlerTimeout = 10_000) {
  const calls: unknown[] = []
  const note = (_details: object, message: string) => { calls.push(message) }
  const request = { log: { warn: note } } as unknown as FastifyRequest
  const runHandler = createHandlerRunner({ ...WORK, ...work }, handlerTimeout)
  await new Promise<void>((resolve) => runHandler({}, request, (answer, late) => {
    calls.push({ ...answer, late })
    resolve()
  }, (answer) => { calls.push(answer) }))
  return calls
}

const boom = (): never => { throw new Error('boom') }

t.test('a failure of what surrounds the handler is a failed handler, be it synchronous or not', async (t) => {
  for (const work of [{ question: boom }, { answer: boom }, { answer: boom, handle: async () => {} }]) {
    t.match(await run(work), [{ ...HANDLER_FAILED, details: { failure: { type: 'Error' } }, late: false }])
  }
})

t.test('what is wrong with a result is told', async (t) => {
  const work = { answer: () => ({ problem: 'no text' }) }
  t.strictSame(await run(work), [{ ...INVALID_REPLY, details: { problem: 'no text' }, late: false }])
})

t.test('a handler that is too slow is told of twice: when its time is up, and when it ends', async (t) => {
  const slow = async () => { await new Promise((resolve) => setTimeout(resolve, 30)) }
  t.strictSame(await run({ handle: slow }, 1), [
    TIMEOUT, 'handler ended after its time-out', { ...OK, late: true }
  ])
  t.match(await run({ handle: () => slow().then(boom) }, 1), [
    TIMEOUT, 'handler ended after its time-out', { ...HANDLER_FAILED, late: true }
  ])
})
