import type { FastifyBaseLogger } from 'fastify'

/** Logs, and goes on where a serializer or transport of the host throws: what is logged decides no answer. */
export function tell (
  log: FastifyBaseLogger, level: 'info' | 'warn' | 'error', details: object, message: string
): void {
  try {
    log[level](details, message)
  } catch {}
}
