import { cpSync } from 'node:fs'
import type { Test } from 'tap'
import { createConsumer, packOnce, runIn, type Consumer } from './consumer.js'
import { pathOf } from './project.js'

/** Reason for tap's `skip` if the projects of `test/hosts` cannot be installed, or false. */
export const lacksRegistry: string | false = await runIn('.', 'npm', 'view', 'fastify', 'version', '--fetch-retries=0')
  .then(() => false as const, () => 'no npm registry can be reached')
if (lacksRegistry !== false && process.env['REQUIRE_REGISTRY']) throw new Error(lacksRegistry)

/**
 * Creates a project with the files of `test/fixtures/hosts/<name>`, the dependencies that its lock file pins, and the
 * tarball. Suites that need the same packages share one, since an install takes seconds.
 */
export async function createKit (test: Test, name: string): Promise<Consumer> {
  const consumer = createConsumer(test)
  cpSync(pathOf(`test/fixtures/hosts/${name}`), consumer.folder, { recursive: true })
  const options = ['--prefer-offline', '--no-audit', '--no-fund']
  const [tarball] = await Promise.all([packOnce(test), consumer.run('npm', 'ci', ...options)])
  await consumer.run('npm', 'install', '--no-save', ...options, tarball)
  return consumer
}
