import Fastify, { type FastifyBaseLogger } from 'fastify'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import * as errors from '../../plugins/lib/errors.js'
import { describeError, type Answer } from '../../plugins/lib/errors.js'
import { createPipeline, type WebhookRoute } from '../../plugins/lib/pipeline.js'
import { isEnabled, safeLog } from '../../plugins/lib/telemetry.js'
import { cpuTime, gateOf } from '../support/waiting.js'

/** Part of everything in an error that must stay out of the log. */
const CANARY = 'canary'
const FAKE_FRAME = `    at ${CANARY} (${CANARY}.js:1:1)`
const FRAMES = /^( {4}at .+)(\n {4}at .+)*$/

class DriverError extends Error {
  override readonly name = 'DriverError'
  readonly code = 'ECONNREFUSED'
  readonly config = { headers: { 'x-api-key': CANARY } }
  readonly detail = CANARY
}

function failsWith (message: string): Error {
  return new TypeError(message)
}

const MESSAGES: [what: string, message: string][] = [
  ['one line', `redis://:${CANARY}@localhost`],
  ['several lines', `first ${CANARY}\n  second ${CANARY}\r\nthird ${CANARY}`],
  ['a false frame', `x\n${FAKE_FRAME}`],
  ['false frames only', `\n${FAKE_FRAME}\n${FAKE_FRAME}`],
  ['false frames with CRLF', `x\r\n${FAKE_FRAME}\r\n${FAKE_FRAME}\r\n`],
  ['the stack of another error', new Error(CANARY, { cause: CANARY }).stack!.replaceAll(' at ', ` at ${CANARY}`)],
  ['patterns of String.replace', `$& $1 $\` $' $$ ${CANARY}\n${FAKE_FRAME} $&`],
  ['patterns of RegExp', `(.*) [${CANARY} \\d+ ^$\n${FAKE_FRAME}`],
  ['the name again', `TypeError: TypeError: ${CANARY}\n${FAKE_FRAME}`],
  ['control characters', `\u001b[31m${CANARY}\u0000\u2028${FAKE_FRAME}`],
  ['empty', ''],
  ['long', `${CANARY} `.repeat(10_000) + `\n${FAKE_FRAME}`]
]

t.test('the type and the frames of an error are described, never its message', async (t) => {
  for (const [what, message] of MESSAGES) {
    const told = describeError(failsWith(message))
    t.strictSame(Object.keys(told), ['type', 'stack'], what)
    t.equal(told.type, 'TypeError', what)
    t.match(told.stack, FRAMES, what)
    t.match(told.stack, /failsWith \(.*unit.errors\.[jt]s/, `${what}: its origin is described`)
    t.notMatch(JSON.stringify(told), CANARY, what)
  }
})

t.test('causes, inner errors and other properties stay out', async (t) => {
  const inner = () => new Error(`${CANARY}\n${FAKE_FRAME}`)
  const aborted = AbortSignal.abort().reason as DOMException
  const cases: [what: string, error: Error, expected: { type: string, code?: string }][] = [
    ['own properties', new DriverError(CANARY), { type: 'DriverError', code: 'ECONNREFUSED' }],
    ['a cause', new Error(CANARY, { cause: inner() }), { type: 'Error' }],
    ['a cause that is not an error', new Error('x', { cause: { password: CANARY } }), { type: 'Error' }],
    ['causes of causes', new Error(CANARY, { cause: new Error(CANARY, { cause: inner() }) }), { type: 'Error' }],
    ['AggregateError', new AggregateError([inner(), CANARY, { CANARY }], CANARY), { type: 'AggregateError' }],
    [
      'headers',
      Object.assign(new Error('x'), { headers: { cookie: CANARY }, request: { body: CANARY }, statusCode: 400 }),
      { type: 'Error' }
    ],
    ['a code', Object.assign(new RangeError(CANARY), { code: 'ERR_X' }), { type: 'RangeError', code: 'ERR_X' }],
    ['a numeric code', Object.assign(new Error(CANARY), { code: 404 }), { type: 'Error' }],
    ['a code that is an object', Object.assign(new Error(CANARY), { code: { CANARY } }), { type: 'Error' }],
    ['an abort', aborted, { type: 'AbortError' }],
    ['one of ours', new errors.InvalidOption('p', 'o', CANARY), {
      type: 'FastifyError', code: 'FST_VERIFICATION_INVALID_OPTION'
    }]
  ]
  for (const [what, error, expected] of cases) {
    const { stack, ...told } = describeError(error)
    t.strictSame(told, expected, what)
    t.match(stack, FRAMES, what)
    t.notMatch(stack, CANARY, what)
  }
})

t.test('an error without frames is described by its type', async (t) => {
  for (const stack of [undefined, null, '', CANARY, `Error: ${CANARY}`, 5, `Error: ${CANARY}\nat ${CANARY}`]) {
    const told = describeError(Object.assign(new Error(CANARY), { stack }))
    t.strictSame(told, { type: 'Error' }, String(stack))
  }
})

t.test('a stack of any length is described quickly, and cut', async (t) => {
  const frames = Array(20_000).fill('    at f (a.ts:1:1)').join('\n')
  const start = cpuTime()
  const { stack } = describeError(Object.assign(new Error(CANARY), { stack: `Error: ${CANARY}\n${frames}` }))
  t.equal(stack?.split('\n').length, 50)
  t.strictSame(describeError(Object.assign(new Error(CANARY), { stack: `Error\n${frames}\n${CANARY}` })), { type: 'Error' })
  t.ok(cpuTime() - start < 200)
})

t.test('a thrown value need not be an error', async (t) => {
  const thrown: [unknown, string][] = [
    [`${CANARY}\n${FAKE_FRAME}`, 'string'], ['', 'string'], [undefined, 'undefined'], [null, 'null'], [5, 'number'],
    [NaN, 'number'], [5n, 'bigint'], [true, 'boolean'], [Symbol(CANARY), 'symbol'], [() => CANARY, 'function'],
    [{ message: CANARY, stack: `Error\n${FAKE_FRAME}`, code: CANARY, name: CANARY }, 'object'], [[CANARY], 'object'],
    [Object.create(null), 'object'], [new Date(0), 'object']
  ]
  for (const [value, type] of thrown) t.strictSame(describeError(value), { type }, type)
})

t.test('errors with the same answer for everyone', async (t) => {
  const ERROR: Record<number, string> = {
    400: 'Bad Request',
    403: 'Forbidden',
    422: 'Unprocessable Entity',
    500: 'Internal Server Error',
    503: 'Service Unavailable'
  }
  const { forbidden, invalidPayload } = errors
  const problem = '/a "b"\n: Expected c'
  const answers: [errors.Answer, number, outcome: string, reason: string, code: string, message: string][] = [
    [forbidden('mismatch'), 403, 'rejected', 'mismatch', 'FORBIDDEN', 'The delivery is not authentic'],
    [forbidden('stale'), 403, 'rejected', 'stale', 'FORBIDDEN', 'The delivery is not authentic'],
    [errors.INVALID_JSON, 400, 'rejected', 'invalid_json', 'INVALID_JSON', 'The body is not a JSON object in UTF-8'],
    [errors.UNKNOWN_EVENT, 400, 'rejected', 'unknown_event', 'UNKNOWN_EVENT', 'No handler for this type of event'],
    [invalidPayload(problem), 400, 'rejected', 'invalid_payload', 'INVALID_PAYLOAD', problem],
    [
      errors.ID_REUSED, 422, 'rejected', 'id_reused', 'ID_REUSED',
      'The delivery id was already used for different content'
    ],
    [
      errors.NOT_SERIALIZABLE, 400, 'rejected', 'not_serializable', 'NOT_SERIALIZABLE',
      'The event is nested too deeply to be stored'
    ],
    [errors.IN_PROGRESS, 503, 'duplicate', 'in_progress', 'IN_PROGRESS', 'This delivery is already being handled'],
    [errors.HANDLER_FAILED, 500, 'failed', 'handler_failed', 'HANDLER_FAILED', 'The handler failed'],
    [errors.INVALID_REPLY, 500, 'failed', 'invalid_reply', 'INVALID_REPLY', 'The handler returned an invalid reply'],
    [errors.TIMEOUT, 503, 'failed', 'handler_timeout', 'TIMEOUT', 'The handler did not finish in time'],
    [
      errors.STORE_UNAVAILABLE, 503, 'failed', 'store_unavailable', 'STORE_UNAVAILABLE',
      'The delivery store is unavailable'
    ],
    [
      errors.QUEUE_UNAVAILABLE, 503, 'failed', 'queue_unavailable', 'QUEUE_UNAVAILABLE',
      'The queue is unavailable'
    ],
    [errors.VERIFICATION_FAILED, 500, 'failed', 'verification_failed', 'FAILED', 'The delivery could not be verified'],
    [
      errors.SECRET_UNAVAILABLE, 503, 'failed', 'secret_unavailable', 'SECRET_UNAVAILABLE',
      'The secret is unavailable'
    ]
  ]
  for (const [answer, statusCode, outcome, reason, code, message] of answers) {
    t.strictSame(JSON.parse(answer.body!), {
      statusCode, code: `FST_VERIFICATION_${code}`, error: ERROR[statusCode], message
    }, code)
    t.match(answer, { statusCode, outcome, reason }, code)
    const { level, details } = answer
    t.equal(level, ['stale', 'id_reused'].includes(reason) ? 'warn' : undefined, code)
    t.strictSame(details, reason === 'invalid_payload' ? { problem } : undefined, code)
  }
  t.equal(forbidden('stale'), forbidden('stale'), 'made once')
  t.strictSame(errors.NO_CONTENT, { statusCode: 204, outcome: 'accepted', reason: 'handled' })
  t.equal(errors.errorBody(415, undefined, 'x'), '{"statusCode":415,"error":"Unsupported Media Type","message":"x"}')
})

t.test('errors have their own code and a status', async (t) => {
  const cases: [Error, object][] = [
    [new errors.InvalidOption('aPlugin', 'an option', 'must be %s'), {
      code: 'FST_VERIFICATION_INVALID_OPTION', statusCode: 500, message: 'aPlugin: option "an option" must be %s'
    }],
    [new errors.InvalidOption('%s', '%d%j', '%o'), { message: '%s: option "%d%j" %o' }],
    [new errors.AlgorithmUnavailable('aPlugin', 'md5'), {
      code: 'FST_VERIFICATION_ALGORITHM_UNAVAILABLE', message: 'aPlugin: this platform does not support HMAC with md5'
    }],
    [new errors.BodyTimeout(), {
      code: 'FST_VERIFICATION_BODY_TIMEOUT', statusCode: 408, message: 'The body did not arrive in time'
    }]
  ]
  for (const [error, expected] of cases) t.match(error, expected)
  t.ok(new errors.InvalidOption('p', 'o', 'e') instanceof TypeError, 'misuse is a TypeError')
})

const OK: Answer = { statusCode: 200, body: '{}', outcome: 'accepted', reason: 'handled' }
const ROUTE: WebhookRoute<object> = {
  url: '/',
  schema: { summary: 'test' },
  authenticate: () => ({ ok: true }),
  check: () => undefined,
  handle: () => undefined,
  answer: () => OK
}

/** Sends a delivery to a route and returns its status, its error code and what was logged of it. */
async function run (route: Partial<WebhookRoute<object>>, handlerTimeout = 10_000, answered = () => {}) {
  const lines: Record<string, any>[] = []
  const app = Fastify({ logger: { level: 'warn', stream: { write: (line) => { lines.push(JSON.parse(line)) } } } })
  app.register(async (scope) => {
    createPipeline(scope, 'test', { bodyLimit: 100, bodyTimeout: 1000, handlerTimeout, routeOptions: {} })(
      { ...ROUTE, ...route })
  })
  const { statusCode, body } = await app.inject({ method: 'POST', url: '/', payload: {} })
  answered()
  await setImmediate()
  await app.close()
  return [statusCode, JSON.parse(body).code, ...lines.map(({ msg, reason, problems }) => ({ msg, reason, problems }))]
}

const boom = (): never => { throw new Error('boom') }
const FAILED = [500, 'FST_VERIFICATION_HANDLER_FAILED', { msg: 'delivery failed', reason: 'handler_failed' }]

t.test('a failure of what surrounds the handler is a failed handler, be it synchronous or not', async (t) => {
  for (const route of [{ replyContext: boom }, { answer: boom }, { answer: boom, handle: async () => {} }]) {
    t.match(await run(route), FAILED)
  }
})

t.test('the problems of a result are logged', async (t) => {
  const problems = ['/a: no text', '/b: no number']
  t.match(await run({ answer: () => ({ problems }) }), [
    500, 'FST_VERIFICATION_INVALID_REPLY', { msg: 'delivery failed', reason: 'invalid_reply', problems }
  ])
})

t.test('a handler that is too slow is logged twice: when its time is up, and when it ends', async (t) => {
  const timedOut = [503, 'FST_VERIFICATION_TIMEOUT', { msg: 'delivery failed', reason: 'handler_timeout' }]
  for (const [end, reason] of [[() => {}, 'handled'], [boom, 'handler_failed']] as const) {
    const gate = gateOf<void>()
    const slow = gate.promise.then(end)
    const late = { msg: 'handler ended after its timeout', reason }
    t.match(await run({ handle: () => slow }, 1, () => gate.resolve()), [...timedOut, late])
  }
})

const fail = (): never => { throw new Error('canary') }
const loggerOf = (logger: object) => logger as FastifyBaseLogger

t.test('a message is logged at its level, and a logger that throws is ignored', async (t) => {
  const lines: unknown[] = []
  const logger = loggerOf({ warn: (...line: unknown[]) => { lines.push(line) }, error: fail })
  safeLog(logger, 'warn', { a: 1 }, 'a message')
  safeLog(logger, 'error', { a: 1 }, 'a message')
  safeLog(logger, 'info', { a: 1 }, 'a message')
  t.strictSame(lines, [[{ a: 1 }, 'a message']])
})

t.test('a logger that cannot tell if a level is enabled is called', async (t) => {
  const asked: string[] = []
  const logger = loggerOf({ isLevelEnabled: (level: string) => asked.push(level) > 1 })
  t.equal(isEnabled(logger, 'debug'), false)
  t.equal(isEnabled(logger, 'info'), true)
  t.strictSame(asked, ['debug', 'info'])
  for (const logger of [{}, { isLevelEnabled: () => undefined }, { isLevelEnabled: fail }, { isLevelEnabled: 5 }]) {
    t.equal(isEnabled(loggerOf(logger), 'debug'), true)
  }
})
