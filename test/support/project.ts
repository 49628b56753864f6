import { readFileSync } from 'node:fs'
import { fileURLToPath, pathToFileURL } from 'node:url'

/** Root folder of the project, the working directory of all suites: run from source, compiled or bundled. */
export const root = pathToFileURL('./')

/** Returns the absolute path of a file of the project. */
export const pathOf = (path: string): string => fileURLToPath(new URL(path, root))

/** Reads a file of the project. */
export const read = (path: string): string => readFileSync(new URL(path, root), 'utf8')
