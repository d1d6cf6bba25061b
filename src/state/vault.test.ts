import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { DamagedState } from './damaged.ts';
import { openVault } from './vault.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-vault-'));
after(() => rmSync(directory, { recursive: true }));

describe('the vault', () => {
  const vault = openVault(join(directory, 'key'));

  it('keeps its key to its owner', () => assert.equal(statSync(join(directory, 'key')).mode & 0o777, 0o600));

  it('opens what it sealed, also after a restart', () => {
    const sealed = vault.seal('hunter2 ü');
    assert.ok(!sealed.includes('hunter2'));
    assert.equal(openVault(join(directory, 'key')).unseal(sealed), 'hunter2 ü');
    assert.deepEqual(vault.unsealBytes(vault.sealBytes(Buffer.from([1, 2, 3]))), Buffer.from([1, 2, 3]));
  });

  it('seals the same text differently each time', () => assert.notEqual(vault.seal('a'), vault.seal('a')));

  it('does not open what was changed or sealed with another key', () => {
    const sealed = vault.seal('text');
    assert.throws(() => vault.unseal(`${sealed.slice(0, -2)}${sealed.endsWith('AA') ? 'BB' : 'AA'}`), /does not open/);
    assert.throws(() => openVault(join(directory, 'other')).unseal(sealed), /does not open/);
    assert.throws(() => vault.unseal('text'), /unknown format/);
  });

  it('refuses a key file that holds no key', () => {
    const path = join(directory, 'damaged');
    writeFileSync(path, readFileSync(join(directory, 'key'), 'utf8').slice(0, 20));
    assert.throws(() => openVault(path), DamagedState);
  });
});
