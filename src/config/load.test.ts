import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { ConfigError, loadConfig, parseConfig } from './load.ts';
import { jsonSchema } from './schema.ts';
import { listenSpecs, toSettings } from './settings.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-config-'));
after(() => rmSync(directory, { recursive: true }));

const OPENED = {
  runDir: '/run/x',
  listen: '127.0.0.1',
  httpPort: 1,
  httpsPort: 2,
  listeners: [],
  apiListen: '127.0.0.1',
  apiPort: 3,
  s3Listen: '127.0.0.1',
  s3Port: 4,
  secret: 'secret',
};

function mistakes(text: string): string {
  try {
    parseConfig(text, 'f.jsonc');
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.message;
  }
  assert.fail('no error');
}

describe('a configuration file', () => {
  it('may be empty: every setting has a default', () => {
    const config = parseConfig('', 'f.jsonc');
    assert.deepEqual(config.listen.http, ['127.0.0.1:8080']);
    assert.equal(config.limits.header_bytes, 65_536);
    assert.deepEqual(config, loadConfig(undefined));
  });

  it('may have comments and trailing commas', () => {
    assert.equal(parseConfig('{ // here\n "colo": "LHR", /* too */ }', 'f.jsonc').colo, 'lhr');
  });

  it('is refused with line and column of each mistake', () => {
    assert.equal(mistakes('{\n  "colo": "x"\n}'), 'f.jsonc:2:3: colo: a code has 3 to 16 letters and digits');
    assert.match(
      mistakes('{\n  "limits": { "header_bytes": "64k" }\n}'),
      /^f\.jsonc:2:15: limits\.header_bytes: .*expected number/,
    );
    assert.match(mistakes('{ "colo" "x" }'), /^f\.jsonc:1:10: colon expected/);
    assert.equal(mistakes('{ "limits": { "header_bytes": 1, "connections": 0 } }').split('\n').length, 2);
  });

  it('names the setting that was probably meant', () => {
    assert.equal(
      mistakes('{ "limits": { "headerBytes": 5000 } }'),
      'f.jsonc:1:15: limits.headerBytes is not a setting; did you mean header_bytes?',
    );
    assert.match(mistakes('{ "sandbox": "auto" }'), /sandbox is not a setting; known here: .*workers/);
  });

  it('is refused for addresses and ranges that are none', () => {
    assert.match(mistakes('{ "listen": { "trusted_proxies": ["10.0.0.0/40"] } }'), /trusted_proxies\.0/);
    assert.match(mistakes('{ "listen": { "api": "unix:/x" } }'), /an address and a port are needed/);
    assert.match(mistakes('{ "listen": { "http": ["localhost:80"] } }'), /listen\.http\.0/);
  });

  it('says which file cannot be read', () => {
    assert.throws(() => loadConfig(join(directory, 'absent.jsonc')), /absent\.jsonc cannot be read/);
  });

  it('takes relative paths from its own place', () => {
    const path = join(directory, 'selvedge.jsonc');
    writeFileSync(path, '{ "data": "state" }');
    const config = loadConfig(path);
    assert.equal(config.data, join(directory, 'state'));
    assert.equal(toSettings(config, OPENED).requestLog?.dir, join(directory, 'state', 'logs'));
  });
});

describe('settings of a configuration', () => {
  it('have all its limits, and the listeners with their PROXY protocol', () => {
    const config = parseConfig(
      `{ "limits": { "http2_resets_per_minute": 7, "websocket_ping_ms": 9000 },
         "listen": { "http": [":80", { "address": "unix:/run/s.sock", "proxy_protocol": true }], "https": ["systemd:https"] } }`,
      'f.jsonc',
    );
    const { limits } = toSettings(config, OPENED);
    assert.equal(limits.http2ResetsPerMinute, 7);
    assert.equal(limits.websocketPingMs, 9000);
    assert.equal(Object.keys(limits).length, Object.keys(config.limits).length);
    assert.deepEqual(listenSpecs(config), [
      { scheme: 'http', proxyProtocol: false, address: { kind: 'tcp', host: '::', port: 80 } },
      { scheme: 'http', proxyProtocol: true, address: { kind: 'unix', path: '/run/s.sock' } },
      { scheme: 'https', proxyProtocol: false, address: { kind: 'systemd', name: 'https' } },
    ]);
  });

  it('join the networks of all Workers with those of one account', () => {
    const id = 'a'.repeat(32);
    const config = parseConfig(
      `{ "egress": { "allow": ["10.0.0.0/8"], "accounts": { "${id}": { "allow": ["fd00::/8"] } } } }`,
      'f.jsonc',
    );
    const settings = toSettings(config, OPENED);
    assert.deepEqual(settings.egressAllow, ['10.0.0.0/8']);
    assert.deepEqual(settings.egressAllowByAccount, { [id]: ['10.0.0.0/8', 'fd00::/8'] });
  });
});

it('the schema for editors is the one of the code', () => {
  const file = new URL('../../selvedge.schema.json', import.meta.url);
  assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), jsonSchema());
});

it('the configuration for a public host is valid', () => {
  const config = loadConfig(new URL('../../ops/selvedge.jsonc', import.meta.url).pathname);
  assert.deepEqual(
    listenSpecs(config).map(({ address }) => address),
    ['0', '1'].map((name) => ({ kind: 'systemd', name })),
  );
});
