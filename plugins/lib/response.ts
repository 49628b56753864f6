import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { STATUS_CODES } from 'node:http'
import { constants, type Http2ServerResponse } from 'node:http2'
import { startDelivery, contextOf } from './context.js'
import { describeError, errorBody, errorOf, TIMEOUT, type Answer } from './errors.js'
import { bodyArrives } from './body.js'
import type { Reason, Report } from './telemetry.js'

const JSON_TYPE = 'application/json; charset=utf-8'
export const RETRY_AFTER_SECONDS = '5'
// After these the client may still be sending a body that nobody will read.
const CLOSING: ReadonlySet<number> = new Set([408, 413, 415])

/** What Fastify or a host's hook has refused; any other status of theirs is a `bad_request`. */
const REFUSALS: ReadonlyMap<number, Reason> = new Map([
  [408, 'body_timeout'], [413, 'body_too_large'], [415, 'unsupported_media_type']
])

/** Reports an answer and sends it, unless the delivery has been answered already. */
export type Send = (reply: FastifyReply, answer: Answer) => void

/** Puts an answer into the words of the API that a route stands for. */
export type Rephrase = (answer: Answer) => Pick<Answer, 'statusCode' | 'body'>

const asItIs = (text: string): string => text

/**
 * Makes the scope answer in its own words, whatever serializer or error handler the host has. Bodies are sent as
 * finished text.
 */
export function prepareResponses (
  scope: FastifyInstance, report: Report, endBodyDeadline: (request: FastifyRequest) => void,
  rephrase: Rephrase = (answer) => answer
): Send {
  let shuttingDown = false
  // A kept-alive client would otherwise hold up close() for as long as the server keeps idle sockets.
  scope.addHook('preClose', (done) => { shuttingDown = true; done() })

  const send: Send = (reply, answer) => {
    const delivery = contextOf(reply.request)
    if (delivery?.answered) return
    if (answer.outcome !== 'failed' || delivery === undefined) return sendNow(reply, answer)
    // Through Fastify, so that the onError hooks of the host see the error. Its error handler is the one below.
    delivery.failure = answer
    reply.send(errorOf(answer))
  }

  function sendNow (reply: FastifyReply, answer: Answer): void {
    const { request } = reply
    const { statusCode, body } = rephrase(answer)
    reportAnswer(request, answer, statusCode)
    reply.code(statusCode)
    const isUnread = CLOSING.has(statusCode) || bodyArrives(request)
    if (request.raw.httpVersionMajor > 1) {
      if (isUnread) closeStream(reply)
    } else if (isUnread || shuttingDown) {
      reply.header('connection', 'close')
    }
    endBodyDeadline(request)
    if (statusCode === 503 && reply.getHeader('retry-after') === undefined) {
      reply.header('retry-after', RETRY_AFTER_SECONDS)
    }
    if (answer.reason === 'replayed') reply.header('idempotency-replayed', 'true')
    if (body === undefined) reply.send()
    else reply.header('content-type', JSON_TYPE).serializer(asItIs).send(body)
  }

  function reportAnswer (request: FastifyRequest, answer: Answer, statusCode: number): void {
    report(request, answer, statusCode)
    const delivery = contextOf(request) ?? startDelivery(request)
    delivery.answered = true
  }

  function handleError (error: unknown, request: FastifyRequest, reply: FastifyReply): void {
    const delivery = contextOf(request)
    const failure = delivery?.failure
    if (failure !== undefined) {
      delivery!.failure = undefined
      return sendNow(reply, failure)
    }
    const { statusCode, code, message, retryAfter } = readError(error)
    const answer = (code === HANDLER_TIMEOUT && answerToTimeout(request)) || errorAnswer(statusCode, code, message)
    if (retryAfter !== undefined) reply.header('retry-after', retryAfter)
    const details = { failure: describeError(error), ...(statusCode === 415 && contentOf(request)) }
    sendNow(reply, { ...answer, details })
  }

  // A hook of the host that answers without an error, or hijacks the reply, is seen here alone.
  scope.addHook('onResponse', (request, { raw, statusCode }, done) => {
    endBodyDeadline(request)
    if (raw.writableEnded && !contextOf(request)?.answered) {
      reportAnswer(request, { ...errorAnswer(statusCode), details: ANSWERED_BY_HOOK }, statusCode)
    }
    done()
  })

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

const HANDLER_TIMEOUT = 'FST_ERR_HANDLER_TIMEOUT'
const ANSWERED_BY_HOOK = { problem: 'a hook of the server has answered' }
// RFC 9110 section 10.2.3: seconds, or an HTTP date.
const RETRY_AFTER = /^(?:\d{1,10}|[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT)$/
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

/** Returns the answer to Fastify's own time limit where it ends a handler or a body that is still arriving. */
function answerToTimeout (request: FastifyRequest): Answer | undefined {
  const delivery = contextOf(request)
  if (delivery === undefined || delivery.answered) return undefined
  if (delivery.event !== undefined) return TIMEOUT
  return bodyArrives(request) ? errorAnswer(408, 'FST_VERIFICATION_BODY_TIMEOUT') : undefined
}

function errorAnswer (statusCode: number, code?: string, message = STATUS_CODES[statusCode]!): Answer {
  const body = errorBody(statusCode, code, message)
  return statusCode < 500
    ? { statusCode, body, outcome: 'rejected', reason: REFUSALS.get(statusCode) ?? 'bad_request' }
    : { statusCode, body, outcome: 'failed', reason: 'internal_error' }
}

/** What a client may see of an error. */
interface ErrorParts { statusCode: number, code?: string, message?: string, retryAfter?: string }

/**
 * Reads the status, the code and the time to wait. The message is for clients only where a rate limit says so, as an
 * error of http-errors does: those of body parsers quote the body. Other headers and the cause never are.
 */
function readError (error: unknown): ErrorParts {
  try {
    const { statusCode, code, expose, message, headers } = Object(error) as Record<string, unknown>
    const { 'retry-after': lowerCase, 'Retry-After': retryAfter = lowerCase } = Object(headers) as Record<string, unknown>
    return {
      statusCode: typeof statusCode === 'number' && statusCode >= 400 && statusCode in STATUS_CODES ? statusCode : 500,
      ...(typeof code === 'string' && code.startsWith('FST_') && { code }),
      ...(statusCode === 429 && expose === true && typeof message === 'string' && { message }),
      ...(RETRY_AFTER.test(String(retryAfter)) && { retryAfter: String(retryAfter) })
    }
  } catch {
    return { statusCode: 500 } // a getter or a proxy that throws
  }
}
