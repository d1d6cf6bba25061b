import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { layout } from '../model/layout.ts';
import type { Running } from './data-dir.ts';
import { type Ended, selvedge, up } from './testing.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-cli-'));
after(() => rmSync(directory, { recursive: true, force: true }));

/** One line on standard error that matches, nothing else, and a non-zero status. */
function refused(ended: Ended, message: RegExp): void {
  assert.match(ended.stderr, message);
  assert.equal(ended.stderr.trim().split('\n').length, 1, ended.stderr);
  assert.equal(ended.code, 1);
}

describe('selvedge, before anything runs', () => {
  const commands = ['up', 'status', 'doctor', 'account', 'token', 'zone', 'rollout', 'r2', 'usage', 'ca', 'wrangler'];

  for (const command of commands) {
    it(`${command} --help says what it does, with an example`, async () => {
      const { code, stdout, stderr } = await selvedge([command, '--help']);
      assert.equal(code, 0);
      assert.match(stdout, /Usage: selvedge/);
      assert.match(stdout, new RegExp(`Examples?:\n  selvedge ${command}`));
      assert.equal(stderr, '');
    });
  }

  it('--help lists all commands', async () => {
    const { stdout } = await selvedge(['--help']);
    for (const command of commands) assert.match(stdout, new RegExp(`^  ${command} `, 'm'));
  });

  for (const [args, message] of [
    [['up', '--http', '70000'], /A port is a number from 0 to 65535/],
    [['up', '--listen', 'example.com'], /An IP address is needed/],
    [['up', '--allow-egress', '10.0.0.0/99'], /is not an address range/],
    [['up', '--workers-domain', 'a b'], /A domain name is needed/],
    [['up', '--edges', '0'], /A number from 1/],
    [['up', '--sandbox', 'none'], /Allowed choices are/],
    [['usage', '--from', 'yesterday'], /written YYYY-MM-DD/],
    [['usage', '--month', '2026-13'], /written YYYY-MM/],
    [['usage', '--bill', '--from', '2026-11-01'], /cannot be used with/],
    [['rollout', 'shop'], /required option '--version/],
    [['rollout', 'shop', '--version', 'x', '--steps', '10,5'], /Rising percentages/],
    [['rollout', 'shop', '--version', 'x', '--every', '5'], /a number with its unit/],
    [['status', '--nonsense'], /unknown option/],
    [['fly'], /unknown command/],
  ] as const) {
    it(`${args.join(' ')} is refused`, async () => {
      const { code, stderr } = await selvedge([...args], { cwd: directory });
      assert.match(stderr, message);
      assert.doesNotMatch(stderr, /^ +at /m);
      assert.notEqual(code, 0);
    });
  }

  it('commands say that there is no installation', async () => {
    for (const args of [['status'], ['account', 'list'], ['usage'], ['ca'], ['wrangler', '--', 'whoami']]) {
      refused(await selvedge(args, { cwd: directory }), /there is no Selvedge in .*\.selvedge: start one/);
    }
    assert.ok(!existsSync(join(directory, '.selvedge')), 'asking makes nothing');
  });

  it('up names the busy port and the option', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as AddressInfo;
    const ended = await selvedge([
      'up',
      '--data',
      join(directory, 'busy'),
      '--http',
      '0',
      '--https',
      String(port),
      '--api',
      '0',
      '--s3',
      '0',
    ]);
    other.close();
    refused(ended, new RegExp(`:${port} is in use by another program: .*--https`));
  });

  it('up refuses one port for two things', async () => {
    const ended = await selvedge([
      'up',
      '--data',
      join(directory, 'busy'),
      '--http',
      '0',
      '--https',
      '48123',
      '--api',
      '48123',
    ]);
    refused(ended, /127.0.0.1:48123 is given to both --https and --api/);
  });

  it('up refuses a damaged ledger and leaves it alone', async () => {
    const dataDir = join(directory, 'damaged');
    mkdirSync(dataDir);
    writeFileSync(layout(dataDir).ledger, 'not a database'.repeat(1000));
    const ended = await selvedge(['up', '--data', dataDir, '--http', '0', '--https', '0', '--api', '0', '--s3', '0']);
    refused(ended, /ledger\.sqlite is damaged/);
    assert.match(readFileSync(layout(dataDir).ledger, 'utf8'), /^not a database/);
  });
});

describe('selvedge up', async () => {
  const dataDir = join(directory, 'data');
  const paths = layout(dataDir);
  const at = ['--data', dataDir];
  const first = await up(dataDir);
  after(() => first.child.kill('SIGKILL'));
  const running = JSON.parse(readFileSync(paths.running, 'utf8')) as Running;
  const environment = readFileSync(paths.wranglerEnv, 'utf8');

  it('prints where everything is, and the token once', () => {
    const { stdout } = first.ended;
    assert.match(stdout, new RegExp(`http://127.0.0.1:${running.api}/client/v4`));
    assert.match(stdout, new RegExp(`curl http://welcome.edge.workers.localhost:${running.http}`));
    assert.match(stdout, new RegExp(`Account +${running.accountId}`));
    assert.match(stdout, /API token +\S{43} /);
    assert.match(stdout, /Sandbox +(bubblewrap|namespaces|plain)/);
    for (const line of environment.trim().split('\n')) assert.ok(stdout.includes(line), line);
  });

  it('keeps what it writes to its owner', () => {
    assert.equal(statSync(dataDir).mode & 0o777, 0o700);
    for (const path of [paths.wranglerEnv, paths.ledger, paths.secretKey, paths.caKey, paths.usage, paths.running]) {
      assert.equal(statSync(path).mode & 0o777, 0o600, path);
    }
  });

  it('serves the welcome Worker', async () => {
    const headers = { host: `welcome.edge.workers.localhost:${running.http}` };
    const status = await new Promise((resolve, reject) => {
      request({ host: '127.0.0.1', port: running.http, headers, agent: false }, (response) => {
        resolve(response.resume().statusCode);
      })
        .on('error', reject)
        .end();
    });
    assert.equal(status, 200);
  });

  it('cannot be started twice on one directory', async () => {
    refused(await selvedge(['up', ...at]), new RegExp(`data directory ${dataDir} is in use by pid ${running.pid}`));
  });

  it('shows its status', async () => {
    const { code, stdout } = await selvedge(['status', ...at, '--json']);
    assert.equal(code, 0);
    const status = JSON.parse(stdout);
    assert.equal(status.pid, running.pid);
    assert.deepEqual(status.processes.map(({ name }: { name: string }) => name).sort(), [
      'core',
      'data',
      'edge-0',
      'r2',
    ]);
    assert.match((await selvedge(['status', ...at])).stdout, /^welcome +\w{8} +running/m);
  });

  it('doctor says what the machine offers', async () => {
    const { stdout } = await selvedge(['doctor', ...at, '--json']);
    const findings = JSON.parse(stdout) as { what: string; detail: string }[];
    for (const what of ['node', 'workerd', 'sandbox', 'open files', 'cores', 'memory', 'data']) {
      assert.ok(
        findings.some((finding) => finding.what === what),
        what,
      );
    }
    assert.match(findings.find(({ what }) => what === 'data')!.detail, new RegExp(`in use by pid ${running.pid}`));
  });

  it('manages accounts, tokens and zones while it runs', async () => {
    await selvedge(['account', 'create', ...at, '--name', 'Web team', '--subdomain', 'web']);
    const accounts = JSON.parse((await selvedge(['account', 'list', ...at, '--json'])).stdout) as {
      id: string;
      subdomain: string;
    }[];
    const web = accounts.find(({ subdomain }) => subdomain === 'web')!;
    refused(await selvedge(['account', 'create', ...at, '--name', 'x', '--subdomain', 'web']), /"web" is taken/);
    refused(await selvedge(['token', 'create', ...at]), /there are several accounts/);
    refused(await selvedge(['token', 'create', ...at, '--account', web.id, '--expires', 'soon']), /neither a span/);

    const made = await selvedge(['token', 'create', ...at, '--account', web.id, '--name', 'ci', '--expires', '30d']);
    const value = made.stdout.trim().split('\n').at(-1)!;
    const authorized = () =>
      fetch(`http://127.0.0.1:${running.api}/client/v4/accounts`, { headers: { authorization: `Bearer ${value}` } });
    assert.equal((await authorized()).status, 200);
    const tokens = await selvedge(['token', 'list', ...at, '--account', web.id, '--json']);
    assert.ok(!tokens.stdout.includes(value));
    await selvedge(['token', 'revoke', ...at, JSON.parse(tokens.stdout)[0].id]);
    assert.notEqual((await authorized()).status, 200);
    assert.match((await selvedge(['token', 'list', ...at])).stdout, /ci +revoked/);

    await selvedge(['zone', 'add', ...at, 'example.com', '--account', web.id]);
    assert.match((await selvedge(['zone', 'list', ...at])).stdout, /^example\.com /m);
    await selvedge(['zone', 'origin', 'set', ...at, 'shop.example.com', 'http://10.0.0.5:3000']);
    assert.match(
      (await selvedge(['zone', 'origin', 'list', ...at])).stdout,
      /^shop\.example\.com +http:\/\/10\.0\.0\.5:3000 /m,
    );
    refused(await selvedge(['zone', 'origin', 'set', ...at, 'shop.example.org', 'http://a']), /no zone holds/);
    await selvedge(['zone', 'origin', 'remove', ...at, 'shop.example.com']);
    assert.doesNotMatch((await selvedge(['zone', 'origin', 'list', ...at])).stdout, /shop/);
  });

  it('prints the root certificate', async () => {
    assert.equal((await selvedge(['ca', ...at])).stdout, readFileSync(paths.caCertificate, 'utf8'));
  });

  it('runs wrangler against itself and passes its status on', async () => {
    const whoami = await selvedge(['wrangler', ...at, '--', 'whoami']);
    assert.equal(whoami.code, 0, whoami.stderr);
    assert.match(whoami.stdout, new RegExp(running.accountId));
    const wrong = await selvedge(['wrangler', ...at, 'whoami', '--nonsense']);
    assert.notEqual(wrong.code, 0);
  });

  it('drains and stops on SIGTERM, and leaves nothing but its data', async () => {
    first.child.kill('SIGTERM');
    const { code, stderr } = await first.end;
    assert.equal(code, 0);
    assert.equal(stderr, '');
    assert.ok(!existsSync(running.runDir));
    assert.ok(!existsSync(paths.running));
    refused(await selvedge(['status', ...at]), /is not running on/);
  });

  it('finds everything as it was at the second start, also after kill -9', async () => {
    const second = await up(dataDir);
    const { pid, runDir } = JSON.parse(readFileSync(paths.running, 'utf8')) as Running;
    process.kill(pid, 'SIGKILL');
    await second.end;
    refused(await selvedge(['status', ...at]), /is not running on/);

    const third = await up(dataDir);
    assert.ok(!existsSync(runDir), 'what the killed one left is removed');
    assert.doesNotMatch(third.ended.stdout, /API token/);
    const tokenOf = (text: string) => /CLOUDFLARE_API_TOKEN="(\S+)"/.exec(text)?.[1];
    assert.equal(tokenOf(readFileSync(paths.wranglerEnv, 'utf8')), tokenOf(environment));
    const status = JSON.parse((await selvedge(['status', ...at, '--json'])).stdout);
    assert.equal(status.accountId, running.accountId);
    // As a terminal and npm do: the same Ctrl-C twice.
    third.child.kill('SIGINT');
    third.child.kill('SIGINT');
    assert.equal((await third.end).code, 0);
  });
});
