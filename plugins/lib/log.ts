import type { FastifyBaseLogger } from 'fastify'

export type Level = 'debug' | 'info' | 'warn' | 'error'

/**
 * Logs a message. Ignores errors of the host's serializers and transports, so that logging never changes a response.
 */
export function safeLog (log: FastifyBaseLogger, level: Level, details: object, message: string): void {
  try {
    log[level](details, message)
  } catch {}
}

/** Returns true if the logger uses messages of this level, or cannot tell. */
export function isEnabled (log: FastifyBaseLogger, level: Level): boolean {
  try {
    return (log as { isLevelEnabled?: (level: Level) => boolean }).isLevelEnabled?.(level) ?? true
  } catch {
    return true
  }
}
