import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { STATUS_CODES } from 'node:http'
import { constants, type Http2ServerResponse } from 'node:http2'
import { deliveryOf } from './delivery.js'
import { describeError, errorBody, errorOf, type Answer } from './errors.js'
import { bodyArrives } from './raw-body.js'
import type { Reason, Report } from './report.js'

const JSON_TYPE = 'application/json; charset=utf-8'
export const RETRY_AFTER_SECONDS = '5'
// After these the client may still be sending a body that nobody will read.
const CLOSING: ReadonlySet<number> = new Set([408, 413, 415])

/** What Fastify or a host's hook has refused; any other status of theirs is a `bad_request`. */
const REFUSALS: ReadonlyMap<number, Reason> = new Map([
  [408, 'body_timeout'], [413, 'body_too_large'], [415, 'unsupported_media_type']
])

/** Reports an answer and sends it. */
export type Send = (reply: FastifyReply, answer: Answer) => void

/** Puts an answer into the words of the API that a route stands for. */
export type Rephrase = (answer: Answer) => Pick<Answer, 'statusCode' | 'body'>

const asItIs = (text: string): string => text

/**
 * Makes the scope answer in its own words, whatever serializer or error handler the host has. Bodies are sent as
 * finished text.
 */
export function ownAnswers (
  scope: FastifyInstance, report: Report, endBodyDeadline: (request: FastifyRequest) => void,
  rephrase: Rephrase = (answer) => answer
): Send {
  let shuttingDown = false
  // A kept-alive client would otherwise hold up close() for as long as the server keeps idle sockets.
  scope.addHook('preClose', (done) => { shuttingDown = true; done() })

  const send: Send = (reply, answer) => {
    const delivery = deliveryOf(reply.request)
    if (answer.outcome !== 'failed' || delivery === undefined) return sendNow(reply, answer)
    // Through Fastify, so that the onError hooks of the host see the error. Its error handler is the one below.
    delivery.failure = answer
    reply.send(errorOf(answer))
  }

  function sendNow (reply: FastifyReply, answer: Answer): void {
    const { request } = reply
    const { statusCode, body } = rephrase(answer)
    report(request, answer, statusCode)
    reply.code(statusCode)
    const isUnread = CLOSING.has(statusCode) || bodyArrives(request)
    if (request.raw.httpVersionMajor > 1) {
      if (isUnread) closeStream(reply)
    } else if (isUnread || shuttingDown) {
      reply.header('connection', 'close')
    }
    endBodyDeadline(request)
    if (statusCode === 503) reply.header('retry-after', RETRY_AFTER_SECONDS)
    if (answer.reason === 'replayed') reply.header('idempotency-replayed', 'true')
    if (body === undefined) reply.send()
    else reply.header('content-type', JSON_TYPE).serializer(asItIs).send(body)
  }

  function handleError (error: unknown, request: FastifyRequest, reply: FastifyReply): void {
    const delivery = deliveryOf(request)
    const failure = delivery?.failure
    if (failure !== undefined) {
      delivery!.failure = undefined
      return sendNow(reply, failure)
    }
    const { statusCode, code } = readError(error)
    const details = { failure: describeError(error), ...(statusCode === 415 && contentOf(request)) }
    sendNow(reply, { ...errorAnswer(statusCode, code), details })
  }

  // Hooks of the host answer as they like. Where its onSend hook keeps throwing, Fastify would print the error.
  scope.setSerializerCompiler(() => (body: unknown) => {
    const status = Object.getOwnPropertyDescriptor(Object(body), 'statusCode')
    const isError = status?.enumerable === false // as Fastify defines it on errors, and nobody on answers
    return isError ? rephrase(errorAnswer(status.value)).body! : JSON.stringify(body)
  })
  // Twice, since a failure that is sent has used up the first one, and an onSend hook may throw after that.
  scope.setErrorHandler<FastifyError>(handleError)
  scope.addHook('onRoute', (route) => { route.errorHandler = handleError })
  return send
}

/** Closes the stream of HTTP/2 after the answer, so that the rest of a body is not sent (RFC 9113 section 8.1). */
function closeStream (reply: FastifyReply): void {
  const { stream } = reply.raw as unknown as Http2ServerResponse
  stream.once('finish', () => stream.close(constants.NGHTTP2_NO_ERROR))
}

// RFC 9110 sections 8.3.1 and 8.4: what senders use in place of application/json, without parameters, and codings.
const MEDIA_TYPE = new RegExp('^[ \\t]*(' + [
  'application/(?:json|xml|octet-stream|x-www-form-urlencoded)', 'application/[a-z0-9.-]{1,60}\\+json',
  'text/(?:plain|html|xml|csv|json)', 'multipart/form-data'
].join('|') + ')(?![^ \\t;])', 'i')
const CODING = /^(?:gzip|br|deflate|zstd|compress|identity)$/i

/** The content type and coding that came, for the log: known names, not whatever a stranger has put there. */
function contentOf ({ headers }: FastifyRequest): object {
  const { 'content-type': type, 'content-encoding': coding } = headers
  return {
    contentType: type === undefined ? 'none' : MEDIA_TYPE.exec(type)?.[1] ?? 'another',
    ...(coding !== undefined && { contentEncoding: CODING.exec(coding)?.[0] ?? 'another' })
  }
}

function errorAnswer (statusCode: number, code?: string): Answer {
  const body = errorBody(statusCode, code, STATUS_CODES[statusCode]!)
  return statusCode < 500
    ? { statusCode, body, outcome: 'rejected', reason: REFUSALS.get(statusCode) ?? 'bad_request' }
    : { statusCode, body, outcome: 'failed', reason: 'internal_error' }
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
