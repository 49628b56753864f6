import { readdirSync } from 'node:fs'
import { root } from './project.js'

const markdownIn = (folder: string): string[] =>
  readdirSync(new URL(`./${folder}`, root)).filter((name) => name.endsWith('.md')).map((name) => folder + name)

/** Pages for users. */
export const PAGES: readonly string[] = ['README.md', ...markdownIn('docs/')]

/** All pages: also those for contributors, about security and the changelog. */
export const ALL_PAGES: readonly string[] = [...markdownIn(''), ...markdownIn('docs/')]

/** Returns the code blocks of a page in a language. */
export function blocksOf (page: string, language: string): string[] {
  return [...page.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map((match) => match[1]!)
}

/** Returns a page without its code blocks. */
export const proseOf = (page: string): string => page.replace(/^```.*?^```$/gms, '')

/** Returns the section below a heading, up to the next one of its level. */
export function sectionOf (page: string, heading: string): string {
  const [, after] = page.split(`\n${heading}\n`)
  if (after === undefined) throw new Error(`no heading ${heading}`)
  return after.split(new RegExp(`^#{1,${heading.indexOf(' ')}} `, 'm'))[0]!
}

/** Returns the strings in `backticks`. */
export const codesIn = (text: string): string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, code]) => code!)

export interface Table { readonly head: readonly string[], readonly rows: readonly string[][] }

const cellsOf = (line: string): string[] => line.split('|').slice(1, -1).map((cell) => cell.trim())

/** Returns the tables of a page or a part of it. */
export function tablesIn (text: string): Table[] {
  return [...proseOf(text).matchAll(/^\|.*\n\|[-| ]+\|\n((?:\|.*\n?)*)/gm)].map(([lines, rows]) => ({
    head: cellsOf(lines.split('\n')[0]!), rows: rows!.trim().split('\n').map(cellsOf)
  }))
}

/** Returns the cells of the table below a heading, without its head and without backticks. */
export function tableOf (page: string, heading: string): string[][] {
  const [table] = tablesIn(sectionOf(page, heading))
  if (table === undefined) throw new Error(`no table below ${heading}`)
  return table.rows.map((cells) => cells.map((cell) => cell.replaceAll('`', '')))
}

/** Returns the anchors of a page: its headings, in GitHub's form. */
export function anchorsOf (page: string): string[] {
  return [...proseOf(page).matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading!.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, '').replaceAll(' ', '-'))
}
