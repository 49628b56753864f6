import { harmless, jsonLine } from './harmless.js'
import { paintFor, type Io } from './io.js'
import type { Order } from './order.js'
import { createProgress } from './progress.js'
import type { Summary } from './tally.js'
import { replyText, requestText, shownHeaders, summaryText, verdictText } from './text.js'
import { changeOf } from './variants.js'
import { wordsFor, type Result } from './verdict.js'

/** Reports each delivery when its outcome is known, and a summary at the end. */
export interface Report {
  readonly sent: (result: Result) => void
  readonly end: (summary: Summary) => void
}

/** Creates a report with one JSON object per line. */
export function jsonReport (order: Order, { stdout }: Io): Report {
  const { provider, event, variant, url } = order
  const print = (line: object): void => { stdout.write(`${jsonLine(line)}\n`) }
  return {
    sent (result) {
      const { number, attempt, delivery: { body }, outcome, expectation, expected } = result
      const headers = Object.fromEntries(shownHeaders(order, result))
      const request = { method: 'POST', url: url.href, headers, body: body.toString() }
      const about = { type: 'delivery', number, attempt, provider, event, variant }
      print({ ...about, request, ...outcome, expectation: wordsFor(order, expectation), expected })
    },
    end: (summary) => print({ type: 'summary', ...summary })
  }
}

/** Creates a report with each request and its response in full. */
export function fullReport (order: Order, { stdout, stderr, env }: Io): Report {
  const paint = paintFor(stdout, env)
  return {
    sent (result) {
      const { attempt, outcome } = result
      const first = attempt === 1 ? requestText(paint, order, result) : '\nThe same delivery again:'
      const rest = 'status' in outcome ? [replyText(paint, outcome), verdictText(paint, order, result)] : []
      stdout.write(`${[first, ...rest].join('\n\n')}\n`)
      if ('failure' in outcome) stderr.write(`${harmless(outcome.failure)}\n`)
    },
    end () {}
  }
}

/** Creates a report with a progress bar, the first unexpected response, every new failure, and a summary. */
export function shortReport (order: Order, { stdout, stderr, env }: Io): Report {
  const { provider, event, variant, url, times } = order
  const paint = paintFor(stdout, env)
  const total = times * (changeOf(variant).twice ? 2 : 1)
  const progress = createProgress(stderr, env, total)
  const failures = new Set<string>()
  let done = 0
  let surprised = false
  stdout.write(`${provider} ${event}, ${variant}: ${total} deliveries to ${url}\n`)

  return {
    sent (result) {
      const { outcome, expected } = result
      progress.show(++done)
      if ('failure' in outcome) {
        if (failures.has(outcome.failure)) return
        failures.add(outcome.failure)
        progress.erase()
        stderr.write(`${harmless(outcome.failure)}\n`)
      } else if (!expected && !surprised) {
        surprised = true
        progress.erase()
        stdout.write(`\n${replyText(paint, outcome)}\n\n${verdictText(paint, order, result)}\n`)
      }
    },
    end (summary) {
      progress.erase()
      stdout.write(`\n${summaryText(paint, summary)}\n`)
    }
  }
}
