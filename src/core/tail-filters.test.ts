import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TailEvent } from '../model/messages.ts';
import { passes, resolveSelf, type TailFilter, TailFilters } from './tail-filters.ts';

const request = {
  url: 'https://x.example/a',
  method: 'POST',
  headers: { 'CF-Connecting-IP': '192.0.2.7', 'x-kind': 'blue whale' },
};
const event: TailEvent = {
  outcome: 'ok',
  scriptName: 'w',
  scriptVersion: { id: 'v1' },
  diagnosticsChannelEvents: [],
  exceptions: [],
  logs: [{ message: ['hello', { deep: 'needle' }], level: 'log', timestamp: 1 }],
  eventTimestamp: 1,
  event: { request, response: { status: 200 } },
  truncated: false,
  executionModel: 'stateless',
};
const cron: TailEvent = { ...event, event: { cron: '* * * * *', scheduledTime: 1 } };

const TABLE: [string, TailFilter[], TailEvent, boolean][] = [
  ['no filter', [], event, true],
  ['an outcome of the list', [{ outcome: ['exception', 'ok'] }], event, true],
  ['an outcome that is not in the list', [{ outcome: ['canceled'] }], event, false],
  ['the method in another case', [{ method: ['get', 'post'] }], event, true],
  ['another method', [{ method: ['GET'] }], event, false],
  ['a method, of an event that is no request', [{ method: ['GET'] }], cron, false],
  ['a header that is there', [{ header: { key: 'X-Kind' } }], event, true],
  ['a header that is not there', [{ header: { key: 'x-other' } }], event, false],
  ['text in a header', [{ header: { key: 'x-kind', query: 'whale' } }], event, true],
  ['text that is not in the header', [{ header: { key: 'x-kind', query: 'shark' } }], event, false],
  ['the client address', [{ client_ip: ['198.51.100.1', '192.0.2.7'] }], event, true],
  ['another client address', [{ client_ip: ['198.51.100.1'] }], event, false],
  ['text in a log line', [{ query: 'hell' }], event, true],
  ['text deep in a logged object', [{ query: 'needle' }], event, true],
  ['text that nobody logged', [{ query: 'bye' }], event, false],
  ['the version', [{ scriptVersion: 'v1' }], cron, true],
  ['another version', [{ scriptVersion: 'v2' }], event, false],
  ['all of several filters', [{ outcome: ['ok'] }, { method: ['POST'] }, { query: 'hello' }], event, true],
  ['one of several filters only', [{ outcome: ['ok'] }, { method: ['GET'] }], event, false],
];

describe('filters of tail sessions', () => {
  for (const [what, filters, subject, expected] of TABLE) {
    it(`${expected ? 'pass' : 'hold back'} ${what}`, () => assert.equal(passes(subject, filters, 0.5), expected));
  }
  it('let the sampling rate of events pass', () => {
    assert.equal(passes(event, [{ sampling_rate: 0.25 }], 0.2), true);
    assert.equal(passes(event, [{ sampling_rate: 0.25 }], 0.25), false);
  });
  it('put the address of the maker for "self"', () => {
    assert.deepEqual(resolveSelf([{ client_ip: ['self', '192.0.2.1'] }, { query: 'x' }], '127.0.0.1'), [
      { client_ip: ['127.0.0.1', '192.0.2.1'] },
      { query: 'x' },
    ]);
  });
  it('are refused when unknown, empty, mixed or too many', () => {
    const bad = [
      [{ color: 'red' }],
      [{}],
      [{ sampling_rate: 2 }],
      [{ outcome: [] }],
      [{ query: 'a', outcome: ['ok'] }],
      [{ header: {} }],
      Array(33).fill({ query: 'a' }),
      'query',
    ];
    for (const filters of bad) assert.equal(TailFilters.safeParse(filters).success, false, JSON.stringify(filters));
  });
  it('take a single word where a list is meant', () => {
    assert.deepEqual(TailFilters.parse([{ method: 'GET' }]), [{ method: ['GET'] }]);
  });
});
