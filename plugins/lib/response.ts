import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { STATUS_CODES } from 'node:http'
import { constants, type Http2ServerResponse } from 'node:http2'
import { contextOf, startDelivery, type DeliveryContext } from './context.js'
import { describeError, errorBody, errorOf, TIMEOUT, type Answer } from './errors.js'
import { announcesBody } from './body.js'
import type { Reason, Report } from './telemetry.js'

const JSON_TYPE = 'application/json; charset=utf-8'
export const RETRY_AFTER_SECONDS = '5'
// After these statuses, the client may still be sending a body that nobody will read.
const CLOSING: ReadonlySet<number> = new Set([408, 413, 415])

/**
 * Reasons by the status with which Fastify or a hook of the host application refused a request. For any other status,
 * the reason is `bad_request`.
 */
const REFUSALS: ReadonlyMap<number, Reason> = new Map([
  [408, 'body_timeout'], [413, 'body_too_large'], [415, 'unsupported_media_type']
])

/** Reports a response and sends it, unless the delivery already has a response. */
export type Send = (reply: FastifyReply, answer: Answer) => void

/** Changes a response into the format of the API that a route implements. */
export type Rephrase = (answer: Answer) => Pick<Answer, 'statusCode' | 'body'>

const asItIs = (text: string): string => text

/**
 * Makes the scope send its own responses, whatever serializer or error handler the host application has. Bodies are
 * sent as finished strings.
 */
export function prepareResponses (
  scope: FastifyInstance, report: Report, endBodyDeadline: (delivery: DeliveryContext) => void, rephrase?: Rephrase
): Send {
  let shuttingDown = false
  // Otherwise a kept-alive client would delay close() for as long as the server keeps idle sockets.
  scope.addHook('preClose', (done) => { shuttingDown = true; done() })

  const send: Send = (reply, answer) => {
    const delivery = contextOf(reply.request)
    if (delivery?.answered) return
    if (answer.outcome !== 'failed' || delivery === undefined) return sendNow(reply, answer, delivery)
    // Sent through Fastify, so that the onError hooks of the host application see the error. Fastify's error handler is
    // the one below.
    delivery.failure = answer
    reply.send(errorOf(answer))
  }

  function sendNow (reply: FastifyReply, answer: Answer, delivery: DeliveryContext | undefined): void {
    const { request } = reply
    const { statusCode, body } = rephrase === undefined ? answer : rephrase(answer)
    reportAnswer(request, delivery, answer, statusCode)
    reply.code(statusCode)
    const isUnread = CLOSING.has(statusCode) || (delivery?.bytes === undefined && announcesBody(request))
    if (request.raw.httpVersionMajor > 1) {
      if (isUnread) closeStream(reply)
    } else if (isUnread || shuttingDown) {
      reply.header('connection', 'close')
    }
    if (delivery?.deadline !== undefined) endBodyDeadline(delivery)
    if (statusCode === 503 && reply.getHeader('retry-after') === undefined) {
      reply.header('retry-after', RETRY_AFTER_SECONDS)
    }
    if (answer.reason === 'replayed') reply.header('idempotency-replayed', 'true')
    if (body === undefined) reply.send()
    else reply.header('content-type', JSON_TYPE).serializer(asItIs).send(body)
  }

  function reportAnswer (
    request: FastifyRequest, delivery: DeliveryContext | undefined, answer: Answer, statusCode: number
  ): void {
    report(request, delivery, answer, statusCode);
    (delivery ?? startDelivery(request)).answered = true
  }

  function handleError (error: unknown, request: FastifyRequest, reply: FastifyReply): void {
    const delivery = contextOf(request)
    const failure = delivery?.failure
    if (failure !== undefined) {
      delivery!.failure = undefined
      return sendNow(reply, failure, delivery)
    }
    const { statusCode, code, message, retryAfter } = readError(error)
    const answer = (code === HANDLER_TIMEOUT && answerToTimeout(request)) || errorAnswer(statusCode, code, message)
    if (retryAfter !== undefined) reply.header('retry-after', retryAfter)
    const details = { failure: describeError(error), ...(statusCode === 415 && contentOf(request)) }
    sendNow(reply, { ...answer, details }, delivery)
  }

  // Only this hook sees that a hook of the host application responded without an error, or hijacked the reply.
  scope.addHook('onResponse', (request, { raw, statusCode }, done) => {
    const delivery = contextOf(request)
    if (delivery?.deadline !== undefined) endBodyDeadline(delivery)
    if (raw.writableEnded && !delivery?.answered) {
      reportAnswer(request, delivery, { ...errorAnswer(statusCode), details: ANSWERED_BY_HOOK }, statusCode)
    }
    done()
  })

  // Hooks of the host application may send any response. If its onSend hook keeps throwing, Fastify would print the
  // error.
  scope.setSerializerCompiler(() => (body: unknown) => {
    const status = Object.getOwnPropertyDescriptor(Object(body), 'statusCode')
    const isError = status?.enumerable === false // Fastify defines it so on its errors, nobody does on responses
    return isError ? (rephrase?.(errorAnswer(status.value)) ?? errorAnswer(status.value)).body! : JSON.stringify(body)
  })
  // Set twice, since sending a failure uses up the first handler, and an onSend hook may throw after that.
  scope.setErrorHandler<FastifyError>(handleError)
  scope.addHook('onRoute', (route) => { route.errorHandler = handleError })
  return send
}

/** Closes an HTTP/2 stream after the response, so that the rest of a body is not sent (RFC 9113 section 8.1). */
function closeStream (reply: FastifyReply): void {
  const { stream } = reply.raw as unknown as Http2ServerResponse
  stream.once('finish', () => stream.close(constants.NGHTTP2_NO_ERROR))
}

const HANDLER_TIMEOUT = 'FST_ERR_HANDLER_TIMEOUT'
const ANSWERED_BY_HOOK = { problem: 'a hook of the server sent a response' }
// RFC 9110 section 10.2.3: seconds, or an HTTP date.
const RETRY_AFTER = /^(?:\d{1,10}|[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT)$/
// RFC 9110 sections 8.3.1 and 8.4: media types that senders use instead of application/json, without parameters, and
// content codings.
const MEDIA_TYPE = new RegExp('^[ \\t]*(' + [
  'application/(?:json|xml|octet-stream|x-www-form-urlencoded)', 'application/[a-z0-9.-]{1,60}\\+json',
  'text/(?:plain|html|xml|csv|json)', 'multipart/form-data'
].join('|') + ')(?![^ \\t;])', 'i')
const CODING = /^(?:gzip|br|deflate|zstd|compress|identity)$/i

/** Returns the content type and coding of a request for the log: only known names, never what a stranger put there. */
function contentOf ({ headers }: FastifyRequest): object {
  const { 'content-type': type, 'content-encoding': coding } = headers
  return {
    contentType: type === undefined ? 'none' : MEDIA_TYPE.exec(type)?.[1] ?? 'another',
    ...(coding !== undefined && { contentEncoding: CODING.exec(coding)?.[0] ?? 'another' })
  }
}

/** Returns the response if Fastify's own time limit ends a handler, or a body that is still arriving. */
function answerToTimeout (request: FastifyRequest): Answer | undefined {
  const delivery = contextOf(request)
  if (delivery === undefined || delivery.answered) return undefined
  if (delivery.event !== undefined) return TIMEOUT
  return delivery.bytes === undefined && announcesBody(request) ? errorAnswer(408, 'FST_VERIFICATION_BODY_TIMEOUT') : undefined
}

function errorAnswer (statusCode: number, code?: string, message = STATUS_CODES[statusCode]!): Answer {
  const body = errorBody(statusCode, code, message)
  return statusCode < 500
    ? { statusCode, body, outcome: 'rejected', reason: REFUSALS.get(statusCode) ?? 'bad_request' }
    : { statusCode, body, outcome: 'failed', reason: 'internal_error' }
}

/** The parts of an error that a client may see. */
interface ErrorParts { statusCode: number, code?: string, message?: string, retryAfter?: string }

/**
 * Reads the status, the code and the `Retry-After` value of an error. The message is for clients only if a rate limit
 * says so, as an error of http-errors does: messages of body parsers quote the body. Other headers and the cause are
 * never for clients.
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
    return { statusCode: 500 } // thrown by a getter or a proxy
  }
}
