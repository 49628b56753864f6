import { readdirSync } from 'node:fs'
import { root } from './project.js'

const markdownIn = (folder: string): string[] =>
  readdirSync(new URL(`./${folder}`, root)).filter((name) => name.endsWith('.md')).map((name) => folder + name)

/** The pages for users. */
export const PAGES: readonly string[] = ['README.md', ...markdownIn('docs/')]

/** Those and the others: for contributors, about security, what has changed. */
export const ALL_PAGES: readonly string[] = [...markdownIn(''), ...markdownIn('docs/')]

/** The blocks of a page in a language. */
export function blocksOf (page: string, language: string): string[] {
  return [...page.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map((match) => match[1]!)
}

/** A page without its blocks of code. */
export const proseOf = (page: string): string => page.replace(/^```.*?^```$/gms, '')

/** What stands below a heading, up to the next one of its rank. */
export function sectionOf (page: string, heading: string): string {
  const [, after] = page.split(`\n${heading}\n`)
  if (after === undefined) throw new Error(`no heading ${heading}`)
  return after.split(new RegExp(`^#{1,${heading.indexOf(' ')}} `, 'm'))[0]!
}

/** What is in `backticks` in a text. */
export const codesIn = (text: string): string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, code]) => code!)

export interface Table { readonly head: readonly string[], readonly rows: readonly string[][] }

const cellsOf = (line: string): string[] => line.split('|').slice(1, -1).map((cell) => cell.trim())

/** The tables of a page, or of a part of it. */
export function tablesIn (text: string): Table[] {
  return [...proseOf(text).matchAll(/^\|.*\n\|[-| ]+\|\n((?:\|.*\n?)*)/gm)].map(([lines, rows]) => ({
    head: cellsOf(lines.split('\n')[0]!), rows: rows!.trim().split('\n').map(cellsOf)
  }))
}

/** The cells of the table below a heading, without its head; code without its quotes. */
export function tableOf (page: string, heading: string): string[][] {
  const [table] = tablesIn(sectionOf(page, heading))
  if (table === undefined) throw new Error(`no table below ${heading}`)
  return table.rows.map((cells) => cells.map((cell) => cell.replaceAll('`', '')))
}

/** What links to a page may name after `#`: its headings, as GitHub writes them. */
export function anchorsOf (page: string): string[] {
  return [...proseOf(page).matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading!.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, '').replaceAll(' ', '-'))
}
