import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Load } from './load.ts';

const known = () => true;
const report = (from: string, open: number) => ({ from, isolates: { i1: { open, started: 1 } } });

it('adds up what the processes report, and forgets a process that is gone', () => {
  const load = new Load();
  const used: string[] = [];
  load.report(report('edge-0', 2), known, (id) => used.push(id));
  load.report(report('edge-1', 3), known, (id) => used.push(id));
  assert.equal(load.open('i1'), 5);
  assert.deepEqual(used, ['i1', 'i1']);
  load.reporterGone('edge-1');
  assert.equal(load.open('i1'), 2);
});

it('an isolate that an edge released with requests as last reported is not busy for ever', () => {
  const load = new Load();
  load.report(report('edge-0', 1), known, () => undefined);
  load.released('i1', 'edge-0');
  assert.equal(load.open('i1'), 0);
});

it('a report that comes after the end of its isolate leaves nothing', () => {
  const load = new Load();
  load.report(report('edge-0', 1), known, () => undefined);
  load.forget('i1');
  load.report(
    report('edge-0', 1),
    () => false,
    () => assert.fail('it is not used'),
  );
  assert.equal(load.size, 0);
});
