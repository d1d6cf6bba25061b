/** The store of messages against a plain model, by random operations with the file closed and opened in between; and what two processes see. */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import type { Lease, Messages } from './messages.ts';
import { openThreadedMessages } from './threaded-messages.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-messages-'));
after(() => rmSync(directory, { recursive: true }));
let files = 0;
const newPath = () => join(directory, `${files++}.sqlite`);
const newId = () => randomBytes(16).toString('hex');
const MAX_BYTES = 500;

interface Held {
  id: string;
  body: string;
  sent: number;
  due: number;
  attempts: number;
}

/** What a store has to do, in as few words as possible. Its queues are 0 (dead letters go to 1) and 1 (they are dropped). */
class Model {
  readonly queues: Held[][] = [[], []];
  send(queue: number, sent: Omit<Held, 'attempts'>[]): boolean {
    const size = (held: { body: string }[]) => held.reduce((sum, { body }) => sum + body.length, 0);
    if (size(this.queues[queue]!) + size(sent) > MAX_BYTES) return false;
    this.queues[queue]!.push(...sent.map((one) => ({ ...one, attempts: 0 })));
    return true;
  }
  lease(queue: number, now: number, until: number, limit: number, maxRetries: number, keepFrom: number): string[] {
    const given: string[] = [];
    for (;;) {
      const ready = this.queues[queue]!.filter(({ due }) => due <= now).sort((a, b) => a.due - b.due);
      const [first] = ready;
      if (!first || given.length === limit) return given;
      if (first.sent < keepFrom) this.drop(queue, first);
      else if (first.attempts > maxRetries) this.bury(queue, first, now);
      else {
        first.due = until;
        first.attempts++;
        given.push(first.id);
      }
    }
  }
  drop(queue: number, held: Held): void {
    this.queues[queue]!.splice(this.queues[queue]!.indexOf(held), 1);
  }
  bury(queue: number, held: Held, now: number): void {
    this.drop(queue, held);
    if (queue === 0) this.queues[1]!.push({ ...held, sent: now, due: now, attempts: 0 });
  }
}

const queue = fc.integer({ min: 0, max: 1 });
const operations = fc.array(
  fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant('send' as const),
        queue,
        delays: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 5 }),
        size: fc.integer({ min: 0, max: 40 }),
      }),
    },
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant('lease' as const),
        queue,
        limit: fc.integer({ min: 1, max: 6 }),
        lasts: fc.integer({ min: 1, max: 4 }),
        maxRetries: fc.integer({ min: 0, max: 2 }),
      }),
    },
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant('settle' as const),
        queue,
        pick: fc.integer(),
        delay: fc.integer({ min: 0, max: 2 }),
        maxRetries: fc.integer({ min: 0, max: 2 }),
      }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('release' as const), queue, pick: fc.integer() }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('wait' as const), by: fc.integer({ min: 1, max: 3 }) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('purge' as const), queue }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant('expire' as const), queue, age: fc.integer({ min: 0, max: 8 }) }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('reopen' as const) }) },
  ),
  { maxLength: 60, size: 'max' },
);

describe('messages', () => {
  it('do what a list of them would do, also after the file was opened anew', async () => {
    await fc.assert(
      fc.asyncProperty(operations, async (list) => {
        const path = newPath();
        let store: Messages = await openThreadedMessages(path);
        const model = new Model();
        for (const name of ['a', 'b']) await store.create({ id: newId(), accountId: 'x', name, document: {} });
        const keys = store.queues().map(({ key }) => key);
        const leases: (Lease & { queue: number })[] = [];
        let now = 1000;
        for (const operation of list) {
          if (operation.kind === 'wait') now += operation.by;
          else if (operation.kind === 'reopen') {
            await store.close();
            store = await openThreadedMessages(path);
          } else {
            const at = operation.queue;
            const key = keys[at]!;
            const failing = { deadLetters: at === 0 ? keys[1]! : null };
            if (operation.kind === 'send') {
              const sent = operation.delays.map((delay) => ({
                id: newId(),
                body: 'x'.repeat(operation.size),
                sent: now,
                due: now + delay,
              }));
              const made = sent.map(({ id, body, due }) => ({ id, format: 'text', body: Buffer.from(body), due }));
              const answer = await store.send(key, made, now, MAX_BYTES);
              assert.equal(answer !== 'full', model.send(at, sent));
            } else if (operation.kind === 'lease') {
              const [until, keepFrom] = [now + operation.lasts, now - 20];
              const { messages } = await store.lease({
                queue: key,
                now,
                until,
                limit: operation.limit,
                limitBytes: 1e9,
                keepFrom,
                maxRetries: operation.maxRetries,
                ...failing,
              });
              const expected = model.lease(at, now, until, operation.limit, operation.maxRetries, keepFrom);
              assert.deepEqual(
                messages.map(({ id }) => id),
                expected,
              );
              for (const { sequence, id, attempts } of messages) leases.push({ queue: at, sequence, id, attempts });
            } else if (operation.kind === 'settle' || operation.kind === 'release') {
              const mine = leases.filter((lease) => lease.queue === at);
              if (mine.length === 0) continue;
              const lease = mine[Math.abs(operation.pick) % mine.length]!;
              const held = model.queues[at]!.find(({ id }) => id === lease.id);
              const isLatest = held?.attempts === lease.attempts;
              if (operation.kind === 'release') {
                await store.release(key, [lease]);
                if (held && isLatest) Object.assign(held, { attempts: held.attempts - 1, due: held.sent });
              } else if (operation.pick % 2 === 0) {
                const { acked } = await store.settle({
                  queue: key,
                  now,
                  acks: [lease],
                  retries: [],
                  maxRetries: operation.maxRetries,
                  ...failing,
                });
                assert.equal(acked, held ? 1 : 0);
                if (held) model.drop(at, held);
              } else {
                const due = now + operation.delay;
                const settled = await store.settle({
                  queue: key,
                  now,
                  acks: [],
                  retries: [{ ...lease, due }],
                  maxRetries: operation.maxRetries,
                  ...failing,
                });
                if (!held || !isLatest) assert.deepEqual(settled, { acked: 0, retried: 0, dead: [] });
                else if (held.attempts > operation.maxRetries) {
                  assert.deepEqual(settled.dead, [held.id]);
                  model.bury(at, held, now);
                } else {
                  assert.equal(settled.retried, 1);
                  held.due = due;
                }
              }
            } else if (operation.kind === 'purge') {
              await store.purge(key);
              model.queues[at] = [];
            } else {
              await store.expire(key, now - operation.age);
              model.queues[at] = model.queues[at]!.filter(({ sent }) => sent >= now - operation.age);
            }
          }
          for (const [at, held] of model.queues.entries()) {
            const bytes = held.reduce((sum, { body }) => sum + body.length, 0);
            assert.deepEqual(store.backlog(keys[at]!), { count: held.length, bytes, oldest: held[0]?.sent ?? 0 });
            assert.deepEqual(
              store.dues(keys[at]!, 100),
              held.map(({ due }) => due).sort((a, b) => a - b),
            );
          }
        }
        await store.close();
      }),
      { numRuns: 40 },
    );
  });

  it('come back with the bytes and the format that were sent', async () => {
    const store = await openThreadedMessages(newPath());
    await store.create({ id: newId(), accountId: 'x', name: 'q', document: { some: 'thing' } });
    const { key, document } = store.queues()[0]!;
    assert.deepEqual(document, { some: 'thing' });
    const bodies = [Buffer.alloc(0), randomBytes(128_000), Buffer.from('ü')];
    await store.send(
      key,
      bodies.map((body) => ({ id: newId(), format: 'bytes', body, due: 5 })),
      5,
      1e9,
    );
    const asked = {
      queue: key,
      now: 5,
      until: 6,
      limit: 10,
      limitBytes: 1e9,
      keepFrom: 0,
      maxRetries: 3,
      deadLetters: null,
    };
    const { messages } = await store.lease(asked);
    assert.deepEqual(
      messages.map(({ body }) => Buffer.from(body)),
      bodies,
    );
    assert.deepEqual(
      messages.map(({ format, sent, attempts }) => [format, sent, attempts]),
      [
        ['bytes', 5, 1],
        ['bytes', 5, 1],
        ['bytes', 5, 1],
      ],
    );
    await store.releaseAll(key);
    const few = await store.lease({ ...asked, now: 7, until: 9, limitBytes: 1000 });
    assert.deepEqual(
      few.messages.map(({ attempts }) => attempts),
      [1, 1],
      'a batch ends with the message that makes it too large',
    );
    await store.close();
  });

  it('of a queue that is gone are gone, and its name is free', async () => {
    const path = newPath();
    const store = await openThreadedMessages(path);
    const create = () => store.create({ id: newId(), accountId: 'x', name: 'q', document: {} });
    assert.deepEqual([await create(), await create()], [true, false]);
    const { key, id } = store.byName('x', 'q')!;
    const send = (to: number) =>
      store.send(to, [{ id: newId(), format: 'text', body: Buffer.from('x'), due: 0 }], 0, 100);
    await send(key);
    await store.remove(key);
    assert.deepEqual([store.byId(id), await send(key), store.backlog(key).oldest], [null, 'absent', 0]);
    assert.equal(await create(), true);
    assert.notEqual(store.byName('x', 'q')!.key, key);
    await store.close();
  });

  it('that were acknowledged are there after kill -9 of the process that wrote them', async () => {
    const path = newPath();
    const store = await openThreadedMessages(path);
    await store.create({ id: newId(), accountId: 'x', name: 'q', document: {} });
    const { key } = store.byName('x', 'q')!;
    const program = join(directory, 'writer.ts');
    writeFileSync(
      program,
      `import { openThreadedMessages } from ${JSON.stringify(join(import.meta.dirname, 'threaded-messages.ts'))};
      const store = await openThreadedMessages(${JSON.stringify(path)});
      for (let n = 0; ; n += 10) {
        await Promise.all(Array.from({ length: 10 }, async (_, i) => {
          const id = String(n + i).padStart(32, '0');
          await store.send(${key}, [{ id, format: 'text', body: Buffer.from(id), due: 0 }], 0, 1e9);
          process.send(id);
        }));
      }`,
    );
    const acknowledged: string[] = [];
    const child = fork(program, { execArgv: ['--disable-warning=ExperimentalWarning'] });
    child.on('message', (id: string) => {
      acknowledged.push(id);
      if (acknowledged.length === 300) child.kill('SIGKILL');
    });
    await once(child, 'exit');
    const { messages } = await store.lease({
      queue: key,
      now: 1,
      until: 2,
      limit: 1e6,
      limitBytes: 1e9,
      keepFrom: 0,
      maxRetries: 3,
      deadLetters: null,
    });
    for (const { id, body } of messages) assert.equal(Buffer.from(body).toString(), id);
    const there = new Set(messages.map(({ id }) => id));
    assert.deepEqual(
      acknowledged.filter((id) => !there.has(id)),
      [],
    );
    assert.equal(store.backlog(key).count, there.size);
    await store.close();
  });
});
