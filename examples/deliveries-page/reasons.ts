import type { Reason } from '../../plugins/lib/telemetry.js'

/** Explanations of the reasons, with advice, for readers who do not know the documentation yet. */
export const REASONS: Readonly<Record<Reason, string>> = {
  handled: 'It is authentic and new, and the handler took it.',
  acknowledged: 'It is authentic, but its OP code is not known here. The sender is told that all is well; no handler runs.',

  replayed: 'This delivery was handled before. The first answer is given again; the handler does not run twice.',
  in_progress: 'The same delivery is being handled right now. The sender is told to come again later.',
  denied: 'It is authentic, and the handler said no: this player, or this action, is not approved.',

  missing_header: 'A header that authentication needs is not there. Look below for what did arrive: a proxy may drop headers.',
  duplicate_header: 'A header that must come once came several times. Two sides may add it, such as the sender and a proxy.',
  malformed_header: 'A header is there, but not in the form that the provider sends. Compare its length and form below: hex is not base64, and no spaces or quotes belong around it.',
  stale: 'The signed timestamp is older than the tolerance. Check the clocks on both sides, or raise `tolerance` (`maxAge` for HumanDetect) if deliveries may take that long. An old delivery sent once more ends here, too.',
  future: 'The signed timestamp is ahead of this server’s clock. Check the clocks on both sides, and that it is in seconds, not milliseconds; or raise `futureTolerance` (`skew` for HumanDetect).',
  unknown_key: 'The key that the sender names is none of those configured. Compare the sender’s api-key with yours: test and live keys are easily confused.',
  wrong_endpoint: 'The signed X-Endpoint is not the path that this route expects. Set `endpoints` to the public path and query that you gave the provider, as it is before any proxy rewrites it.',
  mismatch: 'The signature belongs to another secret or to other bytes. Compare the secret first; then see whether anything on the way changes the body. To sign JSON that was parsed and written anew does not work.',
  no_body: 'There is no body, so there is nothing that a signature could belong to.',

  invalid_json: 'It is authentic, but its body is not a JSON object in UTF-8.',
  invalid_payload: 'It is authentic, but its body is not what this provider sends. The answer to the sender names the field and the rule.',
  unknown_event: 'It is authentic, but no handler takes events of this type. Give the plugin a `handleEvent`, or switch the event off at the provider.',
  id_reused: 'Its id was used before, for other content. Every delivery needs an id of its own.',
  not_serializable: 'The event is nested too deep for the queue to keep it as JSON. It will be as deep the next time.',
  unsupported_media_type: 'The body is not sent as plain JSON. Send `Content-Type: application/json` and no `Content-Encoding`.',
  body_too_large: 'The body is longer than `bodyLimit`.',
  body_timeout: 'The body did not arrive within `bodyTimeout`. The sender, or something on the way, is too slow.',
  bad_request: 'This is not a request that could be read.',

  token_required: 'There is no token, or it is empty, no text or too long. The form must send what the SDK gave it.',
  no_identifier: 'It is not known whom the token should be about. See what `identifier` returns for this request.',
  malformed_token: 'The token service does not know this token. It was made up or cut off, or belongs to another service.',
  bot: 'The token is genuine, and says that a bot made it.',
  other_identifier: 'The token is genuine, but about someone else. The SDK must be given the same identifier as the guard.',
  used: 'The token was used before. Each one is good once: have the SDK make a new one.',

  handler_failed: 'The handler threw an error. The log has its type and where it comes from.',
  invalid_reply: 'The handler returned what the provider does not accept, so nothing of it was sent. The log names the field and the rule.',
  handler_timeout: 'The handler took longer than `handlerTimeout`. The sender is told to come again; the work goes on.',
  store_unavailable: 'It cannot be known whether this delivery was handled before: the delivery store cannot be reached, or is full. The sender is told to come again.',
  secret_unavailable: 'The function that finds the secret failed, took too long or returned something else. The sender is told to come again.',
  queue_unavailable: 'The queue did not take this delivery in time, or failed: see whether its Redis can be reached. The sender is told to come again.',
  verification_failed: 'The check of the signature itself failed. The log has the type of the error and where it comes from.',
  service_unavailable: 'The token service cannot be reached, refuses our key or answers nonsense. Nobody is let in on a guess.',
  internal_error: 'Something failed that should not fail. The log has the type of the error and where it comes from.'
}

/** Returns the explanation of a reason, or an empty string for an unknown reason. */
export function explain (reason: string): string {
  return Object.hasOwn(REASONS, reason) ? REASONS[reason as Reason] : ''
}
