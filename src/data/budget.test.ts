import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createBudget, takeSettled } from './budget.ts';

const takeAll = (budget: ReturnType<typeof createBudget>) => {
  let count = 0;
  while (count < 1000 && budget.take()) count++;
  return count;
};

describe('the subrequest budget of an isolate process', () => {
  it('is the limit of one request before any report', () => {
    assert.equal(takeAll(createBudget(5)), 5);
  });
  it('grows with each request that started while any is open', () => {
    const budget = createBudget(5);
    budget.report('edge-0', { open: 2, started: 2 });
    assert.equal(takeAll(budget), 10);
    budget.report('edge-1', { open: 1, started: 1 });
    assert.equal(takeAll(budget), 5);
  });
  it('starts anew when no reporter has a request open', () => {
    const budget = createBudget(5);
    budget.report('edge-0', { open: 1, started: 1 });
    budget.report('edge-1', { open: 1, started: 1 });
    assert.equal(takeAll(budget), 10);
    budget.report('edge-0', { open: 0, started: 0 });
    assert.equal(takeAll(budget), 0);
    budget.report('edge-1', { open: 0, started: 3 });
    assert.equal(takeAll(budget), 5);
  });
  it('does not wait for a reporter that is gone', () => {
    const budget = createBudget(5);
    budget.report('edge-0', { open: 1, started: 1 });
    assert.equal(takeAll(budget), 5);
    budget.forget('edge-0');
    assert.equal(takeAll(budget), 5);
  });
  it('waits for reports before it refuses, and asks for them once', async () => {
    let asked = 0;
    const budget = createBudget(2, () => {
      asked++;
      if (asked === 1) setTimeout(() => budget.report('edge-0', { open: 3, started: 3 }), 10);
    });
    const results = await Promise.all(Array.from({ length: 7 }, () => takeSettled(budget)));
    assert.deepEqual(results, [true, true, true, true, true, true, false]);
    assert.equal(asked, 2);
    // What the reports did not help is refused at once from then on.
    assert.equal(budget.settle(), null);
    assert.equal(await takeSettled(budget), false);
    assert.equal(asked, 2);
    budget.report('edge-0', { open: 3, started: 1 });
    assert.equal(await takeSettled(budget), true);
  });
});
