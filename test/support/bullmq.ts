import { existsSync } from 'node:fs'
import { register } from 'node:module'
import { pathToFileURL } from 'node:url'
import { pathOf } from './project.js'

const NEXT = pathOf('bench/node_modules/bullmq-6/dist/cjs/index.js')

/** Reason for tap's `skip` if the next major version of BullMQ is not installed, or false. */
export const noNextBullmq: string | false = existsSync(NEXT) ? false : 'npm run bench:install has not been run'

/** Returns the URL of the BullMQ that replaces the installed one, if any. */
export const bullmqUrl = (): string | undefined => process.env['BULLMQ'] === '6' ? pathToFileURL(NEXT).href : undefined

/** Makes `bullmq` that version in modules loaded and programs started from now on. */
export function useNextBullmq (): void {
  process.env['BULLMQ'] = '6'
  register(`data:text/javascript,${encodeURIComponent(`
    export const resolve = (specifier, context, next) =>
      specifier === 'bullmq' ? { url: ${JSON.stringify(bullmqUrl())}, shortCircuit: true } : next(specifier, context)
  `)}`)
}
