import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Version } from './documents.ts';
import { toEdgeChange } from './edge-docs.ts';
import { keys } from './keys.ts';

const version: Version = {
  id: '7f1c0000-0000-4000-8000-000000000001',
  accountId: 'acc',
  script: 'shop',
  number: 1,
  createdOn: '2026-11-01T00:00:00Z',
  authorEmail: '',
  source: 'wrangler',
  annotations: {},
  format: 'modules',
  mainModule: 'index.js',
  modules: [{ name: 'index.js', type: 'esm', hash: 'h', sizeBytes: 1 }],
  bindings: [{ name: 'KEY', type: 'secret_text', sealed: 'v1.sealed' }],
  compatibilityDate: '2026-11-01',
  compatibilityFlags: [],
  limits: { cpuMs: 1, memoryMb: 1, subrequests: 1 },
  placement: null,
  assets: null,
  etag: 'e',
  handlers: ['fetch'],
  entrypoints: [],
  startupTimeMs: 1,
};

describe('what edges are told of the ledger', () => {
  it('has neither secrets nor code', () => {
    const change = toEdgeChange(keys.version('acc', 'shop', version.id), version);
    assert.deepEqual(change?.doc, {
      kind: 'version',
      id: version.id,
      accountId: 'acc',
      script: 'shop',
      hasCode: true,
      assets: null,
    });
  });

  it('has nothing of tokens and deployment history', () => {
    assert.equal(toEdgeChange(keys.token('hash'), { id: 't' }), null);
    assert.equal(toEdgeChange(keys.deployment('acc', 'shop', 'd'), { id: 'd' }), null);
  });

  it('tells deletions', () => {
    assert.deepEqual(toEdgeChange(keys.domain('a.example'), null), { key: 'domain/a.example', doc: null });
  });
});
