import type { FastifyBaseLogger } from 'fastify'

export type Level = 'debug' | 'info' | 'warn' | 'error'

/** Logs, and goes on where a serializer or transport of the host throws: what is logged decides no answer. */
export function safeLog (log: FastifyBaseLogger, level: Level, details: object, message: string): void {
  try {
    log[level](details, message)
  } catch {}
}

/** Whether anything is done with what is logged at this level. Loggers that cannot say are asked to log. */
export function isEnabled (log: FastifyBaseLogger, level: Level): boolean {
  try {
    return (log as { isLevelEnabled?: (level: Level) => boolean }).isLevelEnabled?.(level) ?? true
  } catch {
    return true
  }
}
