import type { AghanimEvent, AltDentifierEvent, SessionNotification } from '../../plugins/index.js'
import type { KnownDelivery } from '../../plugins/queue.js'

// What the example tells of a delivery, in a line, be it in the server or in the worker.

export function tellMember (event: AltDentifierEvent): string {
  if (event.OP === 5) return 'AltDentifier: test event'
  const who = `${event.member.username ?? event.member.name ?? 'member'} (${event.member.id})`
  switch (event.OP) {
    case 0: return `AltDentifier: ${who} started verification`
    case 1: return `AltDentifier: ${who} passed verification by ${event.method}`
    case 2: return `AltDentifier: ${who} failed verification by ${event.method}: ${event.reason}`
    case 3: return `AltDentifier: ${who} ignored verification, action ${event.action}`
    case 4: return `AltDentifier: ${who} verified with another account`
  }
}

export const tellItem = (event: AghanimEvent): string => `Aghanim: ${event.event_type} ${event.event_id}`
export const tellSession = ({ session }: SessionNotification): string =>
  `Identity validation: session ${session?.id} is ${session?.status}`
export const FILES_REQUIRED = 'Identity validation: files are required'

export function tellDelivery (delivery: KnownDelivery): string {
  switch (delivery.provider) {
    case 'altdentifier': return tellMember(delivery.event)
    case 'aghanim': return tellItem(delivery.event)
    case 'identity-validation': return delivery.kind === 'sessions' ? tellSession(delivery.event) : FILES_REQUIRED
  }
}
