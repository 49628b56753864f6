import type { Reason } from '../../plugins/lib/telemetry.js'

/** Explanations of the reasons, with advice, for readers who do not know the documentation yet. */
export const REASONS: Readonly<Record<Reason, string>> = {
  handled: 'Authentic and new. The handler succeeded.',
  acknowledged: 'Authentic, but its OP code is unknown. The delivery was acknowledged without calling a handler.',

  replayed: 'This delivery was already handled. The stored response was sent again, and the handler did not run again.',
  in_progress: 'The same delivery is still being handled. The sender is asked to retry later.',
  denied: 'Authentic, but the handler denied it: this player or action is not approved.',

  missing_header: 'A header required for authentication is missing. The headers that arrived are listed below. A proxy may have dropped it.',
  duplicate_header: 'A header that must occur once was sent several times. The sender and a proxy may both have added it.',
  malformed_header: 'A header does not have the format that the provider sends. Compare its length and encoding below: hex is not base64, and spaces or quotation marks are not allowed.',
  stale: 'The signed timestamp is older than the tolerance. Check the clocks on both sides, or raise `tolerance` (`maxAge` for HumanDetect) if deliveries may take that long. Replays of old deliveries are rejected for this reason too.',
  future: 'The signed timestamp is ahead of this server’s clock. Check the clocks on both sides, and that the timestamp is in seconds, not milliseconds, or raise `futureTolerance` (`skew` for HumanDetect).',
  unknown_key: 'The key in the request is not configured. Compare the api-key of the sender with yours: test and live keys are easily confused.',
  wrong_endpoint: 'The signed X-Endpoint is not the path that this route expects. Set `endpoints` to the public path and query that are registered with the provider, before any rewriting by a proxy.',
  mismatch: 'The signature was created with another secret or for another body. Compare the secrets first, then check whether anything between the sender and this server changes the body. A signature of parsed and reserialized JSON does not match.',
  no_body: 'The request has no body, so there is nothing to verify.',

  invalid_json: 'Authentic, but the body is not a JSON object in UTF-8.',
  invalid_payload: 'Authentic, but the body does not match the schema of this provider. The response names the field and the rule.',
  unknown_event: 'Authentic, but there is no handler for this type of event. Set `handleEvent`, or disable the event at the provider.',
  id_reused: 'Its id was already used for different content. Every delivery needs a unique id.',
  not_serializable: 'The event is nested too deeply to be queued as JSON. A retry will fail as well.',
  unsupported_media_type: 'The body was not sent as plain JSON. Send `Content-Type: application/json` and no `Content-Encoding`.',
  body_too_large: 'The body is larger than `bodyLimit`.',
  body_timeout: 'The body did not arrive within `bodyTimeout`. The sender or the network is too slow.',
  bad_request: 'The request could not be parsed.',

  token_required: 'The token is missing, empty, too long or not a string. The form must send the token from the SDK.',
  no_identifier: 'The identifier that the token must belong to is unknown. Check what `identifier` returns for this request.',
  malformed_token: 'The token service does not recognize this token. It was forged or truncated, or belongs to another service.',
  bot: 'The token is genuine, but it was created by a bot.',
  other_identifier: 'The token is genuine, but it was created for another identifier. The SDK and the guard must use the same identifier.',
  used: 'The token was already used. Each token is valid once: request a new one from the SDK.',

  handler_failed: 'The handler threw an error. The log has its type and stack trace.',
  invalid_reply: 'The handler returned a value that the provider does not accept, so it was not sent. The log names the field and the rule.',
  handler_timeout: 'The handler took longer than `handlerTimeout` and is still running. The sender is asked to retry.',
  store_unavailable: 'The delivery store is unreachable or full, so it is unknown whether this delivery was already handled. The sender is asked to retry.',
  secret_unavailable: 'The function that provides the secret failed, timed out or returned an invalid value. The sender is asked to retry.',
  queue_unavailable: 'The queue failed or did not accept this delivery in time. Check whether its Redis is reachable. The sender is asked to retry.',
  verification_failed: 'The signature could not be verified because of an error. The log has its type and stack trace.',
  service_unavailable: 'The token service is unreachable, rejects the API key or sends invalid responses. No request is admitted without a verified token.',
  internal_error: 'An unexpected error occurred. The log has its type and stack trace.'
}

/** Returns the explanation of a reason, or an empty string for an unknown reason. */
export function explain (reason: string): string {
  return Object.hasOwn(REASONS, reason) ? REASONS[reason as Reason] : ''
}
