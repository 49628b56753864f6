import { readFileSync } from 'node:fs'
import { fileURLToPath, pathToFileURL } from 'node:url'

/** The folder of the project. Suites run in it: from their sources, compiled or bundled. */
export const root = pathToFileURL('./')

/** The absolute path of a file of the project. */
export const pathOf = (path: string): string => fileURLToPath(new URL(path, root))

/** The text of a file of the project. */
export const read = (path: string): string => readFileSync(new URL(path, root), 'utf8')
