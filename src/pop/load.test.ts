/** How busy isolate processes are, from what edges report, and that nothing stays of those that are gone. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Load } from './load.ts';

const report = (load: Load, from: string, open: number, started = 0) => {
  const used: string[] = [];
  load.report({ from, isolates: { i1: { open, started } } }, (id) => used.push(id));
  return used;
};

it('adds up what each process has open, and names what is used', () => {
  const load = new Load();
  assert.deepEqual(report(load, 'edge-0', 2), ['i1']);
  assert.deepEqual(report(load, 'edge-1', 3), ['i1']);
  assert.equal(load.open('i1'), 5);
  assert.deepEqual(report(load, 'edge-0', 0, 7), ['i1']);
  assert.deepEqual(report(load, 'edge-0', 0), []);
  assert.equal(load.open('i1'), 3);
});

it('keeps nothing of a process without requests, of a reporter that died, and of a late report', () => {
  const load = new Load();
  report(load, 'edge-0', 1);
  load.reporterGone('edge-0');
  assert.equal(load.size, 0);
  report(load, 'edge-0', 1);
  load.forget('i1');
  report(load, 'edge-0', 0);
  assert.deepEqual([load.size, load.open('i1')], [0, 0]);
});
