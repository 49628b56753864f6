import { createHash } from 'node:crypto'
import type { Mutant } from '@stryker-mutator/api/core'
import { CheckStatus, type CheckResult } from '@stryker-mutator/api/check'
import { declareClassPlugin, PluginKind } from '@stryker-mutator/api/plugin'

// A Stryker checker, called before a mutant is tested, which passes the mutants of a sample.

/** Inverse fraction of the mutants that are tested. The sample is the same as long as the code is. */
const ONE_IN = Number(process.env['MUTATION_SAMPLE'])

function isSampled ({ replacement, mutatorName, location: { start } }: Mutant): boolean {
  const hash = createHash('sha256').update([replacement, mutatorName, start.line, start.column].join())
  return hash.digest().readUInt32BE() % ONE_IN === 0
}

class Sample {
  async init (): Promise<void> {}

  async check (mutants: Mutant[]): Promise<Record<string, CheckResult>> {
    return Object.fromEntries(mutants.map((mutant) => [mutant.id, isSampled(mutant)
      ? { status: CheckStatus.Passed }
      : { status: CheckStatus.CompileError, reason: 'not of the sample' }]))
  }

  async group (mutants: Mutant[]): Promise<string[][]> {
    return [mutants.map(({ id }) => id)]
  }
}

export const strykerPlugins = [declareClassPlugin(PluginKind.Checker, 'sample', Sample)]
