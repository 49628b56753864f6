import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify'
import { STATUS_CODES } from 'node:http'
import { describeError, errorBody, type Refusal } from './errors.js'

const JSON_TYPE = 'application/json; charset=utf-8'
const RETRY_AFTER_SECONDS = '5'
// After these the client may still be sending a body that nobody will read.
const CLOSING: ReadonlySet<number> = new Set([408, 413, 415])

/** What is sent: a status and, but for 204, a JSON text. */
export interface Answer {
  readonly statusCode: number
  readonly body?: string
  readonly retry?: boolean
}

export const NO_CONTENT: Answer = { statusCode: 204 }

export type Send = (reply: FastifyReply, answer: Answer | Refusal) => void

const asItIs = (text: string): string => text

/**
 * Makes the scope answer in its own words, whatever serializer or error handler the host has. Bodies are sent as
 * finished text.
 */
export function ownAnswers (scope: FastifyInstance): Send {
  let shuttingDown = false
  // A kept-alive client would otherwise hold up close() for as long as the server keeps idle sockets.
  scope.addHook('preClose', (done) => { shuttingDown = true; done() })

  const send: Send = (reply, { statusCode, body, retry }) => {
    reply.code(statusCode)
    if ((shuttingDown || CLOSING.has(statusCode)) && reply.request.raw.httpVersionMajor === 1) {
      reply.header('connection', 'close')
    }
    if (retry === true) reply.header('retry-after', RETRY_AFTER_SECONDS)
    if (body === undefined) reply.send()
    else reply.header('content-type', JSON_TYPE).serializer(asItIs).send(body)
  }

  scope.setSerializerCompiler(() => JSON.stringify)
  scope.setErrorHandler<FastifyError>((error, request, reply) => {
    const { statusCode, code } = readError(error)
    if (statusCode >= 500) request.log.error({ err: describeError(error) }, 'request failed')
    else request.log.info({ err: describeError(error), statusCode }, 'request refused')
    send(reply, { statusCode, body: errorBody(statusCode, code, STATUS_CODES[statusCode]!) })
  })
  return send
}

/** Status and code are all that a client may see of an error: no message, headers or cause. */
function readError (error: unknown): { statusCode: number, code?: string } {
  const { statusCode, code } = Object(error) as { statusCode?: unknown, code?: unknown }
  return {
    statusCode: typeof statusCode === 'number' && statusCode >= 400 && statusCode in STATUS_CODES ? statusCode : 500,
    ...(typeof code === 'string' && code.startsWith('FST_') && { code })
  }
}
