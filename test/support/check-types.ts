import { join } from 'node:path'
import ts from 'typescript'

// check-types FOLDER PACKAGE: a program that prints what TypeScript 6 has against the project in a folder, by its
// tsconfig.json, and against the declarations of a package in it, but not against those of other packages. It also
// prints which import would lead a bundler to another file.

const [folder, name] = process.argv.slice(2) as [string, string]
const { config } = ts.readConfigFile(join(folder, 'tsconfig.json'), ts.sys.readFile)
const { options, fileNames } = ts.parseJsonConfigFileContent(config, ts.sys, folder)
const program = ts.createProgram(fileNames, options)

const declarations = program.getSourceFiles().filter(({ fileName }) => fileName.includes(`/node_modules/${name}/`))
if (declarations.length < 10) console.log(`only ${declarations.length} declarations of ${name}`)
const files = [...fileNames.map((path) => program.getSourceFile(path)!), ...declarations]
const found = [
  ...program.getOptionsDiagnostics(), ...program.getGlobalDiagnostics(),
  ...files.flatMap((file) => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)])
]
for (const { file, start = 0, messageText } of found) {
  const line = file === undefined ? 0 : file.getLineAndCharacterOfPosition(start).line + 1
  console.log(`${file?.fileName}:${line} ${ts.flattenDiagnosticMessageText(messageText, '\n')}`)
}

const bundler = { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler }
for (const path of fileNames.filter((path) => path.endsWith('.ts'))) {
  for (const { fileName: specifier } of ts.preProcessFile(ts.sys.readFile(path)!).importedFiles) {
    const [one, other] = [options, bundler].map((options) => ts.resolveModuleName(
      specifier, path, options, ts.sys, undefined, undefined, ts.ModuleKind.ESNext).resolvedModule?.resolvedFileName)
    if (one === undefined || one !== other) console.log(`${specifier} is ${one}, but for a bundler ${other}`)
  }
}
