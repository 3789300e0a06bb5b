// The original engine, @coji/durably, with better-sqlite3 or PostgreSQL; see common.py.
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { createDurably, defineJob } from '@coji/durably'
import Database from 'better-sqlite3'
import { PostgresDialect, SqliteDialect } from 'kysely'
import pg from 'pg'
import { z } from 'zod'

const database = process.env.PEERS_DATABASE
const onPostgres = database.startsWith('postgres')
const mark = `${process.env.PEERS_FOLDER}/died`
const seconds = () => performance.now() / 1000
const clock = () => (performance.timeOrigin + performance.now()) / 1000

function makeDialect() {
  if (onPostgres) {
    return new PostgresDialect({ pool: new pg.Pool({ connectionString: database, max: 10 }) })
  }
  const file = new Database(database)
  file.pragma('journal_mode = WAL')
  file.pragma(`synchronous = ${process.env.PEERS_SYNCHRONOUS}`)
  return new SqliteDialect({ database: file })
}

const job = (name, output, run) => defineJob({ name, input: z.object({ n: z.number() }), output, run })

const jobs = {
  steps: job('steps', z.number(), async (step, { n }) => {
    const began = seconds()
    for (let number = 0; number < n; number++) await step.run(`step-${number}`, () => number)
    return seconds() - began
  }),
  three: job('three', z.number(), async (step, { n }) => {
    const first = await step.run('first', () => n)
    const second = await step.run('second', () => first)
    return step.run('third', () => second)
  }),
  pickup: job('pickup', z.number(), (step) => step.run('first', clock)),
  resume: job('resume', z.array(z.number()), async (step, { n }) => {
    const began = clock()
    for (let number = 0; number < n; number++) await step.run(`step-${number}`, () => number)
    if (!existsSync(mark)) {
      writeFileSync(mark, '')
      process.exit(1) // the run goes on when its lease has run out
    }
    return [began, await step.run('new', clock)]
  }),
}

const durably = createDurably({
  dialect: makeDialect(),
  pollingIntervalMs: 10,
  maxConcurrentRuns: 4, // as common.py's SLOTS; on PostgreSQL its pool has connections to spare
  leaseMs: 3000,
  leaseRenewIntervalMs: 1000,
  preserveSteps: true, // as the others do
  jobs,
})

async function output(run) {
  for (;;) {
    const found = await durably.getRun(run.id)
    if (found.status === 'completed') return found.output
    if (found.status === 'failed') throw new Error(found.error)
    await sleep(1)
  }
}

async function runs(count) {
  const began = seconds()
  for (let number = 0; number < count; number++) await durably.jobs.three.trigger({ n: number })
  while ((await durably.getRuns({ status: ['pending', 'leased'], limit: 1 })).length) await sleep(10)
  return count / (seconds() - began)
}

async function pickup() {
  await sleep(50 + Math.random() * 100)
  const began = clock()
  return (await output(await durably.jobs.pickup.trigger({ n: 0 })) - began) * 1000
}

async function resume(count) {
  rmSync(mark, { force: true })
  const [began, first] = await output(await durably.jobs.resume.trigger({ n: count }))
  return (first - began) * 1000
}

async function measure(what, count) {
  if (what === 'steps') return count / (await output(await durably.jobs.steps.trigger({ n: count })))
  if (what === 'runs') return runs(count)
  if (what === 'resume') return resume(count)
  const delays = []
  for (let number = 0; number < count; number++) delays.push(await pickup())
  return delays
}

const [what, count] = process.argv.slice(2)
if (what === 'worker') {
  await durably.init()
} else if (what === 'prepare') {
  await durably.migrate()
  process.exit(0)
} else {
  console.log(JSON.stringify(await measure(what, Number(count))))
  process.exit(0)
}
