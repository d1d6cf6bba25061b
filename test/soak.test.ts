/** The soak test for less than two minutes, and that its rules find what they are for. `npm run soak` runs it for half an hour. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { alive, descriptors, filesBelow, growing, growth, processesBelow, surplus } from './soak/readings.ts';
import { soak } from './soak/soak.ts';

const LOAD_SECONDS = 100;
const MB = 1024 * 1024;

describe('the readings', () => {
  it('find a process that is left, and see it end', async () => {
    const child = spawn('sleep', ['60']);
    await once(child, 'spawn');
    assert.ok(processesBelow(process.pid).some(({ pid }) => pid === child.pid));
    assert.ok(alive(child.pid!));
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    assert.ok(!alive(child.pid!));
    assert.ok(!processesBelow(process.pid).some(({ pid }) => pid === child.pid));
  });

  it('count a socket that is left', async () => {
    const before = descriptors(process.pid)!.socket ?? 0;
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    assert.equal(descriptors(process.pid)!.socket, before + 1);
    server.close();
    await once(server, 'close');
    assert.equal(descriptors(process.pid)!.socket ?? 0, before);
  });

  it('name a file that is left, whichever isolate it was of', () => {
    const directory = mkdtempSync(join(tmpdir(), 'selvedge-readings-'));
    try {
      const before = ['i/*/m.sock', 'i/*/m.sock'];
      writeFileSync(join(directory, 'left'), '');
      assert.deepEqual(filesBelow(directory), ['left']);
      assert.deepEqual(surplus(before, ['i/*/m.sock', 'i/*/m.sock', 'i/*/m.sock', 'left']), {
        'i/*/m.sock': 1,
        left: 1,
      });
      assert.deepEqual(surplus(before, ['i/*/m.sock']), {});
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  it('find memory that grows all the time, and forgive what the start took and what is under way', () => {
    const found = (live: (i: number) => number, all: (i: number) => number) => {
      const samples = Array.from({ length: 60 }, (_, i) => i);
      return growing('x', growth(samples.map(live), 'least'), growth(samples.map(all), 'median'));
    };
    const flat = () => 50 * MB;
    assert.deepEqual(found(flat, flat), []);
    assert.match(
      found((i) => 20 * MB + i * 0.2 * MB, flat).join(),
      /^what is alive in x grows: 24\.0 MB, then 28\.0 MB$/,
    );
    assert.match(found(flat, (i) => 50 * MB + i * 2 * MB).join(), /^the memory of x grows/);
    assert.deepEqual(
      found(
        (i) => 20 * MB + (i % 5) * 4 * MB,
        (i) => 50 * MB + Math.min(i, 20) * 5 * MB,
      ),
      [],
    );
    assert.equal(growing('x', growth([], 'least'), growth([], 'median')).length, 2, 'no reading is no proof');
  });
});

describe('a Selvedge under mixed load', () => {
  it(`for ${LOAD_SECONDS} s has flat memory, and leaves no process, descriptor or file`, async (t) => {
    const { problems } = await soak(LOAD_SECONDS, (line) => t.diagnostic(line));
    assert.deepEqual(problems, []);
  });
});
