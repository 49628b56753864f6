import { existsSync } from 'node:fs'
import { register } from 'node:module'
import { pathToFileURL } from 'node:url'
import { pathOf } from './project.js'

const NEXT = pathOf('bench/node_modules/bullmq-6/dist/cjs/index.js')

/** For tap's `skip`: why nothing can be run on the next major version of BullMQ, or false. */
export const noNextBullmq: string | false = existsSync(NEXT) ? false : 'npm run bench:install has not been run'

/** The URL of the BullMQ that suites are run on instead of the installed one. */
export const bullmqUrl = (): string | undefined => process.env['BULLMQ'] === '6' ? pathToFileURL(NEXT).href : undefined

/** From now on modules that are loaded have that version for `bullmq`, and so have programs that are started. */
export function useNextBullmq (): void {
  process.env['BULLMQ'] = '6'
  register(`data:text/javascript,${encodeURIComponent(`
    export const resolve = (specifier, context, next) =>
      specifier === 'bullmq' ? { url: ${JSON.stringify(bullmqUrl())}, shortCircuit: true } : next(specifier, context)
  `)}`)
}
