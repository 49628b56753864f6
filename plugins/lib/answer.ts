import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify'
import { STATUS_CODES } from 'node:http'
import { describeError, errorBody, type Answer } from './errors.js'
import { tell } from './log.js'
import { bodyArrives, endBodyDeadline } from './raw-body.js'

const JSON_TYPE = 'application/json; charset=utf-8'
export const RETRY_AFTER_SECONDS = '5'
// After these the client may still be sending a body that nobody will read.
const CLOSING: ReadonlySet<number> = new Set([408, 413, 415])

export type Send = (reply: FastifyReply, answer: Answer) => void

/** Puts an answer into the words of the API that a route stands for. */
export type Rephrase = (answer: Answer) => Answer

const asItIs = (text: string): string => text

/**
 * Makes the scope answer in its own words, whatever serializer or error handler the host has. Bodies are sent as
 * finished text.
 */
export function ownAnswers (scope: FastifyInstance, rephrase: Rephrase = (answer) => answer): Send {
  let shuttingDown = false
  // A kept-alive client would otherwise hold up close() for as long as the server keeps idle sockets.
  scope.addHook('preClose', (done) => { shuttingDown = true; done() })

  const send: Send = (reply, answer) => {
    const { request } = reply
    const { statusCode, body, replayed } = rephrase(answer)
    reply.code(statusCode)
    const closes = shuttingDown || CLOSING.has(statusCode) || bodyArrives(request)
    if (closes && request.raw.httpVersionMajor === 1) reply.header('connection', 'close')
    endBodyDeadline(request)
    if (statusCode === 503) reply.header('retry-after', RETRY_AFTER_SECONDS)
    if (replayed) reply.header('idempotency-replayed', 'true')
    if (body === undefined) reply.send()
    else reply.header('content-type', JSON_TYPE).serializer(asItIs).send(body)
  }

  // Reached only where a host's onSend hook keeps throwing: Fastify would then print the error itself.
  scope.setSerializerCompiler(({ httpStatus }) => {
    const statusCode = Number(httpStatus) || 500
    const { body } = rephrase({ statusCode, body: errorBody(statusCode, undefined, STATUS_CODES[statusCode]!) })
    return () => body!
  })
  scope.setErrorHandler<FastifyError>((error, request, reply) => {
    const { statusCode, code } = readError(error)
    const failed = statusCode >= 500
    tell(request.log, failed ? 'error' : 'info', { failure: describeError(error), statusCode },
      failed ? 'request failed' : 'request refused')
    send(reply, { statusCode, body: errorBody(statusCode, code, STATUS_CODES[statusCode]!) })
  })
  return send
}

/** Status and code are all that a client may see of an error: no message, headers or cause. */
function readError (error: unknown): { statusCode: number, code?: string } {
  try {
    const { statusCode, code } = Object(error) as { statusCode?: unknown, code?: unknown }
    return {
      statusCode: typeof statusCode === 'number' && statusCode >= 400 && statusCode in STATUS_CODES ? statusCode : 500,
      ...(typeof code === 'string' && code.startsWith('FST_') && { code })
    }
  } catch {
    return { statusCode: 500 } // a getter or a proxy that throws
  }
}
