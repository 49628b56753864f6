import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import ts from 'typescript'
import { pathOf, root } from './project.js'
import { PLAIN_NODE } from './programs.js'

/** Checks blocks of TypeScript with TypeScript 7 and the project's own settings. Returns one error per line. */
export async function checkBlocks (t: Pick<Test, 'testdir'>, blocks: Readonly<Record<string, string>>): Promise<string[]> {
  const tsconfig = {
    extends: pathOf('tsconfig.json'),
    compilerOptions: {
      noEmit: true,
      paths: {
        'fastify-verification': [pathOf('plugins/index.ts')],
        'fastify-verification/schemas/*': [pathOf('schemas/*.ts')],
        'fastify-verification/deliveries/*': [pathOf('plugins/stores/*.ts')],
        'fastify-verification/*': [pathOf('plugins/*.ts')]
      }
    },
    include: ['*.ts']
  }
  const folder = t.testdir({ ...blocks, 'tsconfig.json': JSON.stringify(tsconfig) })
  const compiler = pathOf('node_modules/@typescript/native/bin/tsc')
  const { stdout } = await promisify(execFile)('env', [...PLAIN_NODE, compiler, '--singleThreaded', '--project', folder])
    .catch((error) => error)
  return stdout.trim() === '' ? [] : stdout.trim().split('\n')
}

/**
 * Returns a function that reads the options of an exported type of these files (by default of the first), with the
 * defaults in their comments. The program excludes modules of other packages and most of the language's library, since
 * reading them would take most of the time.
 */
export function createOptionsReader (files: readonly string[]) {
  const { config } = ts.readConfigFile(pathOf('tsconfig.json'), ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent({ ...config, files: [] }, ts.sys, root.pathname)
  const host = ts.createCompilerHost(options)
  host.resolveModuleNameLiterals = (literals, importer) => literals.map(({ text }) => text.startsWith('.')
    ? ts.resolveModuleName(text, importer, options, host)
    : { resolvedModule: undefined })
  const program = ts.createProgram(files.map(pathOf), { ...options, types: [], lib: ['lib.es5.d.ts'] }, host)
  const checker = program.getTypeChecker()
  return (type: string, file = files[0]!): Map<string, string | undefined> => {
    const module = checker.getSymbolAtLocation(program.getSourceFile(pathOf(file))!)!
    const exported = checker.getExportsOfModule(module).find(({ name }) => name === type)!
    const alias = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported
    return new Map(checker.getDeclaredTypeOfSymbol(alias).getProperties().map((property) => {
      const comment = ts.displayPartsToString(property.getDocumentationComment(checker))
      const told = /Default (?:`([^`]+)`|(false|[\d,]*\d))/.exec(comment)
      return [property.name, told?.[1] ?? told?.[2]]
    }))
  }
}
