import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { overrideFor } from './version.ts';

const ID = '12345678-0000-4000-8000-00000000000a';

describe('Cloudflare-Workers-Version-Overrides', () => {
  for (const [header, found] of [
    [`shop="${ID}"`, ID],
    [`other="${ID.replace('a', 'b')}", shop="${ID}"`, ID],
    [`  shop = "${ID}"`, ID],
    [`myshop="${ID}"`, undefined],
    [`shop=${ID}`, undefined],
    ['shop="latest"', undefined],
    ['', undefined],
  ] as const) {
    it(`${JSON.stringify(header)} -> ${found}`, () => assert.equal(overrideFor(header, 'shop'), found));
  }
});
