/** With real processes: small scripts that say that they are ready, or do not. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { after, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Settings } from '../model/settings.ts';
import { createHub } from '../state/local-bus.ts';
import { Children } from './children.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-children-'));
after(() => rmSync(directory, { recursive: true }));

/** Ready at once, unless its settings' colo says "bad" (it ends) or "slow" (it never is). Tells its colo when it dies by SIGUSR2. */
const script = join(directory, 'child.mjs');
writeFileSync(
  script,
  `const { colo } = JSON.parse(process.env.SELVEDGE_SETTINGS);
   process.on('disconnect', () => process.exit());
   const tell = (subject, message) => process.send({ bus: 1, type: 'publish', subject, message });
   if (colo === 'bad') process.exit(1);
   if (colo !== 'slow') tell('local.ready', { name: process.env.SELVEDGE_PROCESS, pid: process.pid });
   tell('test.colo', { colo });`,
);
const entry = relative(fileURLToPath(new URL('..', import.meta.url)), script);

function open(colo = 'one') {
  const hub = createHub();
  const exits: string[] = [];
  const colos: string[] = [];
  hub.subscribe('test.colo', (message: { colo: string }) => colos.push(message.colo));
  const children = new Children(settings(colo), hub, { onReady: () => undefined, onExit: (name) => exits.push(name) });
  return { hub, children, exits, colos };
}

function settings(colo: string): Settings {
  return { colo, dataDir: directory } as Settings;
}

async function eventually(holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!holds()) {
    assert.ok(Date.now() < deadline, 'it does not happen');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

it('a process that the kernel refuses to make is tried again', async () => {
  const { children, hub } = open();
  await children.start('edge-0', entry);
  const { execPath } = process;
  process.execPath = '/nonexistent/node';
  try {
    process.kill(children.list()[0]!.pid, 'SIGKILL');
    await eventually(() => children.list()[0]!.restarts >= 2);
    assert.deepEqual(children.names(), []);
  } finally {
    process.execPath = execPath;
  }
  await eventually(() => children.names().includes('edge-0'));
  await children.stop(['edge-0'], 1_000);
  await hub.close();
});

it('after a replacement that failed, a process that dies comes back with the settings it had', async () => {
  const { children, hub, colos } = open();
  await children.start('edge-0', entry);
  await assert.rejects(children.replace('edge-0', 'edge-0b', 1_000, settings('bad')), /does not start/);
  assert.deepEqual(children.names(), ['edge-0']);
  process.kill(children.list()[0]!.pid, 'SIGKILL');
  await eventually(() => colos.length === 2 && children.names().length === 1);
  assert.deepEqual(colos, ['one', 'one']);
  await children.stop(['edge-0'], 1_000);
  await hub.close();
});

it('stopping ends a replacement that is under way, and none begins after it', async () => {
  const { children, hub, colos } = open();
  await children.start('edge-0', entry);
  const replacing = assert.rejects(children.replace('edge-0', 'edge-0b', 1_000, settings('slow')), /shutting down/);
  await eventually(() => colos.includes('slow'));
  await children.stop(
    children.list().map(({ name }) => name),
    1_000,
  );
  await replacing;
  assert.deepEqual(children.list(), []);
  await assert.rejects(children.start('edge-1', entry), /shutting down/);
  await hub.close();
});
