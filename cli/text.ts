import { STATUS_CODES } from 'node:http'
import type { Reply } from './connection.js'
import { harmless } from './harmless.js'
import type { Paint } from './io.js'
import type { Order } from './order.js'
import type { Summary } from './tally.js'
import { wordsFor, type Result } from './verdict.js'

/** Response headers that matter to a sender or its user. All others are omitted. */
const TOLD_HEADERS = ['content-type', 'retry-after', 'idempotency-replayed', 'location', 'www-authenticate']
const MAX_CHARACTERS = 4000

function indent (text: string): string {
  const more = text.length - MAX_CHARACTERS
  const shown = more > 0 ? `${text.slice(0, MAX_CHARACTERS)}\n... and ${more} more characters` : text
  return harmless(shown).replace(/^/gm, '  ')
}

function message (paint: Paint, first: string, headers: [string, string][], body: string): string {
  const lines = [first, ...headers.map(([name, value]) => `  ${paint('cyan', name)}: ${harmless(value)}`)]
  return [...lines, ...(body === '' ? [] : ['', indent(body)])].join('\n')
}

/** Returns the headers of a delivery as they may be printed. */
export function shownHeaders ({ secretHeader }: Order, { delivery: { headers } }: Result): [string, string][] {
  return Object.entries(headers).map(([name, value]) => [name, name === secretHeader ? '(hidden)' : value])
}

/** Formats a request as it was sent. */
export function requestText (paint: Paint, order: Order, result: Result): string {
  const { delivery: { body } } = result
  return message(paint, paint('bold', `POST ${order.url}`), shownHeaders(order, result), body.toString())
}

const duration = (milliseconds: number): string => `${milliseconds.toFixed(1)} ms`

/** Formats a response. */
export function replyText (paint: Paint, { status, headers, body, duration: time }: Reply): string {
  const told = TOLD_HEADERS.flatMap((name): [string, string][] =>
    headers[name] === undefined ? [] : [[name, String(headers[name])]])
  const colour = status < 300 ? 'green' : status < 500 ? 'yellow' : 'red'
  const first = `${paint(['bold', colour], `${status} ${STATUS_CODES[status] ?? ''}`.trim())} in ${duration(time)}`
  return message(paint, first, told, body)
}

/** Formats the verdict on a response, with a hint if it was not the expected one. */
export function verdictText (paint: Paint, order: Order, { expected, expectation, attempt, outcome }: Result): string {
  const { provider, event, variant, secretFrom } = order
  const what = `${provider} ${event}, ${variant}${attempt === 2 ? ', second attempt' : ''}`
  if (expected) return `${paint('green', 'As expected')}: ${what}: ${wordsFor(order, expectation)}`
  const first = `${paint('red', 'Not as expected')}: ${what}: expected ${wordsFor(order, expectation)}`
  const refused = 'status' in outcome && outcome.status === order.refusalStatus
  return refused ? `${first}\nSee the log of the receiver for the reason. Signed with ${secretFrom}.` : first
}

/** Formats the summary of many deliveries. */
export function summaryText (paint: Paint, { latency, ...summary }: Summary): string {
  const { sent, expected, unexpected, seconds, perSecond } = summary
  const answers = Object.entries(summary.answers).map(([status, count]) => `${count} x ${status === 'none' ? 'no response' : status}`).join(', ')
  const rows: [string, string][] = [
    ['sent', `${sent} in ${seconds.toFixed(2)} s, ${perSecond.toFixed(0)} per second`],
    ['as expected', unexpected > 0 ? String(expected) : paint('green', String(expected))],
    ['not as expected', unexpected > 0 ? paint('red', String(unexpected)) : '0'],
    ['answers', answers || 'none']
  ]
  if (latency !== undefined) {
    rows.push(['latency', Object.entries(latency).map(([name, time]) => `${name} ${duration(time)}`).join(', ')])
  }
  return rows.map(([name, value]) => `${name.padEnd(16)} ${value}`).join('\n')
}
