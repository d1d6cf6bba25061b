/** What testssl.sh (Debian) finds at the listener: nothing of medium or worse. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { startEdge } from './harness.ts';

const TIMEOUT_MS = 150_000;
/** The authority of a fresh machine is its own: nobody trusts it, and it revokes nothing. */
const LOCAL_AUTHORITY = new Set(['cert_chain_of_trust', 'cert_revocation']);
const FINE = new Set(['OK', 'INFO', 'LOW', 'WARN', 'DEBUG']);

it('testssl finds nothing of medium or worse', { timeout: TIMEOUT_MS + 20_000 }, async (t) => {
  if (spawnSync('testssl', ['--version']).error)
    return t.skip('there is no testssl on this machine (apt-get install testssl.sh)');
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-testssl-'));
  const edge = await startEdge();
  try {
    const report = join(directory, 'report.json');
    const target = `https://${edge.host('welcome')}:${edge.https}`;
    // Protocols, server defaults and preferences, forward secrecy, vulnerabilities; without the simulation of clients.
    const checks = ['-p', '-s', '-f', '-P', '-S', '-U'];
    spawnSync(
      'testssl',
      [...checks, '--quiet', '--color', '0', '--warnings', 'off', '--ip', '127.0.0.1', '--jsonfile', report, target],
      {
        timeout: TIMEOUT_MS,
        stdio: 'ignore',
      },
    );
    const findings = JSON.parse(readFileSync(report, 'utf8')) as { id: string; severity: string; finding: string }[];
    assert.ok(
      findings.some(({ id, finding }) => id === 'TLS1_3' && /offered/.test(finding)),
      'it has looked at the listener',
    );
    assert.deepEqual(
      findings.filter(({ id, severity }) => !FINE.has(severity) && !LOCAL_AUTHORITY.has(id.replace(/ .*/, ''))),
      [],
    );
  } finally {
    await edge.close();
    rmSync(directory, { recursive: true, force: true });
  }
});
