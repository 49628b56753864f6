import type { FastifyRequest } from 'fastify'
import type { Rephrase } from './response.js'
import { errorBody, forbidden, InvalidOption, isForbidden } from './errors.js'
import { contentTypePattern, FORM_TYPE, parseForm, parseJson, parseJsonObject } from './body.js'
import {
  anyValue, boolean, callback, checkOptions, group, nonEmptyString, object, oneOf, required, schema, type Rule,
  type Rules
} from './rules.js'
import { compileScheme, type CompiledScheme, type InvalidScheme, type SignatureScheme } from './signature/scheme.js'
import { typesOf } from './validation.js'

/** The response to every delivery that is not authentic. */
export interface Refusal {
  statusCode: 400 | 401 | 403
  /** Body of the response, sent as JSON. Default: an error with the code `FST_VERIFICATION_FORBIDDEN`. */
  body?: object | undefined
}

export const CALLER = 'createProvider'
const NAME = /^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$/
const HEADER = /^[a-z0-9_-]+$/
const JSON_TYPES = /^[a-z]+\/(?:json|[a-z0-9.-]+\+json)$/

const listOf = (accepts: (value: string) => boolean): Rule['accepts'] => (value) =>
  Array.isArray(value) && value.length > 0 && new Set(value).size === value.length &&
  Array.from(value).every((one) => typeof one === 'string' && accepts(one))

const COMMON: Rules = {
  name: required({
    accepts: (value) => typeof value === 'string' && NAME.test(value),
    expects: 'must consist of lowercase letters, digits and hyphens'
  }),
  summary: required(nonEmptyString),
  body: required(schema),
  contentTypes: {
    accepts: listOf((type) => type === FORM_TYPE || JSON_TYPES.test(type)),
    expects: `must be an array of unique media types: "${FORM_TYPE}", or JSON types in lowercase`
  },
  refusal: anyValue,
  reply: schema,
  identify: callback
}
const READER: Rules = {
  ...COMMON,
  headers: required({
    accepts: listOf((name) => HEADER.test(name)),
    expects: 'must be an array of unique lowercase header names'
  }),
  read: required(callback),
  algorithm: required(oneOf('md5', 'sha256')),
  secretEncoding: required({
    accepts: (value) => value === 'utf8' || value === 'base64' || typeof value === 'function',
    expects: 'must be "utf8", "base64" or a function'
  })
}
const BY_SCHEME: Rules = {
  ...COMMON,
  scheme: required(group({
    algorithm: required(oneOf('hmac-md5', 'hmac-sha256')),
    key: {
      accepts: (value) => value === 'utf8' || value === 'base64' || typeof value === 'function',
      expects: 'must be "utf8", "base64" or a function'
    },
    headers: required({
      accepts: (value) => object.accepts(value) &&
        Object.entries(value as object).every(([name, template]) => HEADER.test(name) && isTemplate(template)),
      expects: 'must map lowercase header names to templates or list(...)'
    }),
    signed: required(nonEmptyString),
    ignoreCase: boolean
  }))
}
const REFUSAL = {
  statusCode: required({
    accepts: (value) => value === 400 || value === 401 || value === 403, expects: 'must be 400, 401 or 403'
  }),
  body: { ...schema, expects: 'must be an object' }
}

function isTemplate (template: unknown): boolean {
  if (nonEmptyString.accepts(template)) return true
  const { separator, elements } = Object(template) as { separator?: unknown, elements?: unknown }
  return nonEmptyString.accepts(separator) && Array.isArray(elements) && elements.length > 0 &&
    elements.every((element) => nonEmptyString.accepts(element))
}

/**
 * Checks the definition of a provider.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} if a part is missing, unknown or wrong
 */
export function checkDefinition (definition: { refusal?: object | undefined, scheme?: object | undefined }): void {
  const isRead = Object(definition).scheme === undefined
  checkOptions(CALLER, definition, isRead ? READER : BY_SCHEME)
  const { refusal } = definition
  if (refusal !== undefined) checkOptions(`${CALLER}: refusal`, refusal, REFUSAL)
}

/** Compiles the scheme of a definition. Throws the same for one that is ambiguous or incomplete. */
export function compileDefinedScheme (scheme: SignatureScheme): CompiledScheme {
  try {
    return compileScheme(scheme)
  } catch (error) {
    const { option, message } = error as InvalidScheme
    throw new InvalidOption(CALLER, `scheme.${option}`, message)
  }
}

/**
 * Makes the parser of bodies. Arrays are accepted if the schema asks for them, but not if it accepts anything.
 *
 * @throws {FST_VERIFICATION_INVALID_OPTION} if the schema accepts nothing that can be sent
 */
export function parserOf (
  contentTypes: readonly string[], types: ReturnType<typeof typesOf>
): (body: Buffer, request: FastifyRequest) => object | undefined {
  const objects = types.has('object')
  const arrays = types.has('array') && !types.has('string')
  const forms = contentTypes.includes(FORM_TYPE)
  if (!objects && (forms || !arrays)) {
    throw new InvalidOption(CALLER, 'body', forms ? 'must accept objects' : 'must accept objects or arrays')
  }
  const parse = arrays ? parseJson : parseJsonObject
  if (!forms) return parse
  const isForm = contentTypePattern([FORM_TYPE])
  return (body, { headers }) => isForm.test(headers['content-type']!) ? parseForm(body) : parse(body)
}

/**
 * Makes a function that changes the response to a delivery that is not authentic into the one the provider documents.
 */
export function rephraseOf ({ statusCode, body }: Refusal): Rephrase {
  const { code, message } = JSON.parse(forbidden('mismatch').body!) as { code: string, message: string }
  const refusal = { statusCode, body: body === undefined ? errorBody(statusCode, code, message) : JSON.stringify(body) }
  return (answer) => isForbidden(answer) ? refusal : answer
}
