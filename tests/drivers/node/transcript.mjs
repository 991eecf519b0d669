// What the JavaScript programs share: parts, and the transcript. See ../programs/transcript.py.
import process from 'node:process'
import { readFileSync } from 'node:fs'

export const SCHEMA = process.env.MATRIX_SCHEMA
export const CA = process.env.MATRIX_CA ? readFileSync(process.env.MATRIX_CA, 'utf8') : ''
const LONGEST = 2000
const parts = []
const crowds = []

export function part(name, run) {
  parts.push([name, run])
}

// Several of its sessions may be pinned at once: run by --crowds, where there are backends for all.
export function crowd(name, run) {
  crowds.push([name, run])
}

export function say(...values) {
  let line = values.map((value) => (typeof value === 'string' ? value : JSON.stringify(value))).join(' ')
  if (line.length > LONGEST) line = `${line.slice(0, LONGEST)}... ${line.length}`
  process.stdout.write(line.replaceAll(SCHEMA, 'SCHEMA').replaceAll('\n', '\\n') + '\n')
}

// Awaits what a function makes; says how it fails.
export async function fails(what, make) {
  try {
    const result = await make()
    say(what, 'did not fail', result?.rows ?? result)
  } catch (error) {
    const { code, severity, detail, hint, position, where, constraint } = error
    say(what, error.message, { code, severity, detail, hint, position, where, constraint })
  }
}

export const until = async (claim) => {
  for (let turn = 0; turn < 2400 && !claim(); turn++) await new Promise((resolve) => setTimeout(resolve, 25))
}

export async function main() {
  const wanted = process.argv.slice(2).filter((word) => word !== '--crowds')
  for (const [name, run] of process.argv.includes('--crowds') ? crowds : parts) {
    if (wanted.length && !wanted.includes(name)) continue
    say(`## ${name}`)
    try {
      await run()
    } catch (error) {
      say(`!! ${name} ended with ${error.stack}`)
      console.error(error)
      process.exit(1)
    }
  }
  say('## end')
}
