/** The S3 API with two clients that share no code with the official one: rclone (Go) and s3cmd (Python), as Debian has them. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { openS3Bench } from './s3-bench.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-s3-clients-'));
const { edge, endpoint, credentials } = await openS3Bench();
after(async () => {
  await edge.close();
  rmSync(directory, { recursive: true, force: true });
});
const MiB = 1024 * 1024;
const TIMEOUT_MS = 60_000;
const without = (command: string) =>
  spawnSync(command, ['--version']).status === 0 ? false : `the Debian package ${command} is not installed`;

interface Ended {
  code: number | null;
  stdout: Buffer;
  stderr: string;
}

function run(
  command: string,
  args: string[],
  { env = {}, input }: { env?: Record<string, string>; input?: Buffer } = {},
): Promise<Ended> {
  const child = spawn(command, args, {
    cwd: directory,
    env: { PATH: process.env.PATH, HOME: directory, LANG: 'C.UTF-8', ...env },
    timeout: TIMEOUT_MS,
  });
  // Who ends before it has read all says why.
  child.stdin.on('error', () => undefined).end(input);
  const out: Buffer[] = [];
  let stderr = '';
  child.stdout.on('data', (chunk) => out.push(chunk));
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stdout: Buffer.concat(out), stderr }));
  });
}

/** Files below a directory, by what they hold. */
function tree(root: string): Record<string, string> {
  const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map(({ parentPath, name }) => join(parentPath, name)).sort();
  return Object.fromEntries(
    paths.map((path) => [path.slice(root.length + 1), createHash('md5').update(readFileSync(path)).digest('hex')]),
  );
}

function write(root: string, files: Record<string, string | Buffer>): void {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), content);
  }
}

const BIG = randomBytes(12 * MiB + 5);
/** As rclone shows them. */
const CONTROLS: Record<string, string> = { '␉': '\t', '␊': '\n', '␍': '\r' };
const FILES: Record<string, string | Buffer> = {
  'plain.txt': 'plain',
  empty: '',
  'big.bin': BIG,
  'sub/deeper/deepest/file': 'deep',
  'sub/it\'s "quoted" & <tagged>.txt': 'quoted',
  'sub/a+b c%20d#e?f=g;h.txt': 'reserved',
  'sub/größe 日本語 😀.txt': 'unicode',
  'sub/ leading and trailing ': 'spaces',
  'sub/line\nend\rreturn\ttab': 'controls',
  'sub/back\\slash': 'backslash',
  'sub/.hidden/..dots...': 'dots',
  'sub/*[x]{y}|$!~^`': 'shell',
};

// What it asks for depends on who it takes the server for.
for (const provider of ['Other', 'Cloudflare']) {
  describe(`rclone with the provider "${provider}"`, { skip: without('rclone') }, () => {
    // Its defaults would start a part above 200 MiB.
    const env = {
      RCLONE_CONFIG: join(directory, 'rclone.conf'),
      RCLONE_CONFIG_SV_TYPE: 's3',
      RCLONE_CONFIG_SV_PROVIDER: provider,
      RCLONE_CONFIG_SV_ENDPOINT: endpoint,
      RCLONE_CONFIG_SV_ACCESS_KEY_ID: credentials.accessKeyId,
      RCLONE_CONFIG_SV_SECRET_ACCESS_KEY: credentials.secretAccessKey,
      RCLONE_CONFIG_SV_REGION: 'auto',
      RCLONE_S3_UPLOAD_CUTOFF: '5M',
      RCLONE_S3_CHUNK_SIZE: '5M',
      RCLONE_RETRIES: '1',
      RCLONE_LOW_LEVEL_RETRIES: '1',
    };
    const rclone = async (...args: string[]) => {
      const { code, stdout, stderr } = await run('rclone', args, { env });
      assert.equal(code, 0, `rclone ${args.join(' ')}: ${stderr.slice(-2000)}`);
      return stdout;
    };
    const failed = async (...args: string[]) => {
      const { code, stderr } = await run('rclone', args, { env });
      assert.notEqual(code, 0, `rclone ${args.join(' ')} should fail`);
      return stderr;
    };
    const local = join(directory, provider);
    const list = async (path: string) => {
      const found: { Path: string; Size: number; ModTime: string; IsDir: boolean; Hashes?: { md5?: string } }[] =
        JSON.parse(String(await rclone('lsjson', '--recursive', '--hash', path)));
      return found.filter(({ IsDir }) => !IsDir);
    };

    it('makes a bucket, and copies a tree of odd names, an empty file and one in parts', async () => {
      write(local, FILES);
      await rclone('mkdir', 'sv:tree');
      assert.match(String(await rclone('lsd', 'sv:')), /tree/);
      await rclone('copy', local, 'sv:tree/top');
      // Byte by byte: what is in parts has no MD5 as its ETag.
      await rclone('check', '--download', local, 'sv:tree/top');
      const back = join(directory, `${provider}-back`);
      await rclone('copy', 'sv:tree/top', back);
      assert.deepEqual(tree(back), tree(local));
    });

    it('lists it with sizes, hashes and times', async () => {
      const found = await list('sv:tree/top');
      assert.equal(found.length, Object.keys(FILES).length);
      for (const { Path, Size, ModTime, Hashes } of found) {
        const content = Buffer.from(FILES[Path.replace(/[␉␊␍]/g, (shown) => CONTROLS[shown]!)]!);
        assert.equal(Size, content.length, Path);
        // It keeps the time of the file, and of a file in parts its MD5, in metadata of its own.
        assert.ok(Math.abs(Date.parse(ModTime) - Date.now()) < 120_000, ModTime);
        assert.equal(Hashes?.md5, createHash('md5').update(content).digest('hex'), Path);
      }
      assert.equal((await list('sv:tree/top/sub/deeper')).length, 1);
      assert.deepEqual(JSON.parse(String(await rclone('lsjson', 'sv:tree/absent'))), []);
    });

    it('reads a part of a file', async () => {
      const middle = await rclone('cat', '--offset', String(5 * MiB - 3), '--count', '1000', 'sv:tree/top/big.bin');
      assert.ok(middle.equals(BIG.subarray(5 * MiB - 3, 5 * MiB + 997)));
      const end = await rclone('cat', '--offset', '-7', 'sv:tree/top/big.bin');
      assert.ok(end.equals(BIG.subarray(-7)));
      assert.equal(String(await rclone('cat', 'sv:tree/top/plain.txt')), 'plain');
    });

    it('makes it the same as another tree, with deletions', async () => {
      const changed = join(directory, `${provider}-changed`);
      const { empty, 'plain.txt': _, 'sub/deeper/deepest/file': deep, ...kept } = FILES;
      write(changed, { ...kept, 'plain.txt': 'changed, and longer', 'sub/new': 'new' });
      assert.deepEqual([empty, deep], ['', 'deep']);
      await rclone('sync', '--checksum', changed, 'sv:tree/top');
      await rclone('check', '--download', changed, 'sv:tree/top');
      const names = (await list('sv:tree/top')).map(({ Path }) => Path);
      assert.ok(!names.includes('empty') && !names.includes('sub/deeper/deepest/file') && names.includes('sub/new'));
    });

    it('moves and copies on the server, whole and in parts', async () => {
      await rclone('moveto', 'sv:tree/top/sub/it\'s "quoted" & <tagged>.txt', "sv:tree/moved/it's here & there");
      assert.equal(String(await rclone('cat', "sv:tree/moved/it's here & there")), 'quoted');
      await rclone('--s3-copy-cutoff', '5M', 'copyto', 'sv:tree/top/big.bin', 'sv:tree/moved/big');
      assert.ok((await rclone('cat', 'sv:tree/moved/big')).equals(BIG));
      const names = (await list('sv:tree')).map(({ Path }) => Path);
      assert.ok(!names.some((name) => name.includes('quoted')));
    });

    it('streams what has no size beforehand', async () => {
      const { code, stderr } = await run('rclone', ['rcat', 'sv:tree/streamed'], { env, input: BIG });
      assert.equal(code, 0, stderr);
      assert.ok((await rclone('cat', 'sv:tree/streamed')).equals(BIG));
    });

    it('deletes a file, then everything', async () => {
      await rclone('deletefile', 'sv:tree/streamed');
      await rclone('delete', 'sv:tree/moved');
      assert.match(await failed('rmdir', 'sv:tree'), /BucketNotEmpty/);
      await rclone('cleanup', 'sv:tree');
      await rclone('purge', 'sv:tree');
      assert.match(await failed('lsjson', 'sv:tree'), /not found/);
    });

    it('says what is wrong with a key that is refused', async () => {
      const wrong = await run('rclone', ['lsd', 'sv:'], {
        env: { ...env, RCLONE_CONFIG_SV_SECRET_ACCESS_KEY: 'wrong' },
      });
      assert.notEqual(wrong.code, 0);
      assert.match(wrong.stderr, /SignatureDoesNotMatch/);
    });
  });
}

describe('s3cmd', { skip: without('s3cmd') }, () => {
  const { host } = new URL(endpoint);
  const options = [
    `--access_key=${credentials.accessKeyId}`,
    `--secret_key=${credentials.secretAccessKey}`,
    `--host=${host}`,
    `--host-bucket=${host}`,
    '--no-ssl',
    '--region=us-east-1',
    '--no-progress',
    '--multipart-chunk-size-mb=5',
    `--config=${join(directory, 's3cmd.cfg')}`,
  ];
  const s3cmd = async (...args: string[]) => {
    const { code, stdout, stderr } = await run('s3cmd', [...options, ...args]);
    assert.equal(code, 0, `s3cmd ${args.join(' ')}: ${stderr.slice(-2000)}`);
    return String(stdout);
  };

  it('puts, lists, gets and deletes, also in parts', async () => {
    writeFileSync(join(directory, 's3cmd.cfg'), '[default]\n');
    const local = join(directory, 's3cmd');
    const { 'big.bin': big, 'plain.txt': plain, 'sub/it\'s "quoted" & <tagged>.txt': quoted } = FILES;
    const unicode = 'größe 日本語 a+b %20.txt';
    write(local, { 'big.bin': big!, 'plain.txt': plain!, "it's & that": quoted!, [unicode]: 'unicode' });
    await s3cmd('mb', 's3://cmd');
    await s3cmd('put', '--recursive', `${local}/`, 's3://cmd/top/');
    const listed = await s3cmd('ls', '--recursive', 's3://cmd');
    for (const name of Object.keys(tree(local))) assert.ok(listed.includes(`s3://cmd/top/${name}`), listed);
    assert.match(listed, new RegExp(`${BIG.length} +s3://cmd/top/big.bin`));
    const back = join(directory, 's3cmd-back');
    mkdirSync(back);
    await s3cmd('get', '--recursive', 's3://cmd/top/', `${back}/`);
    assert.deepEqual(tree(back), tree(local));
    await s3cmd('mv', "s3://cmd/top/it's & that", "s3://cmd/it's there");
    assert.match(await s3cmd('info', "s3://cmd/it's there"), /MD5 sum: +[0-9a-f]{32}/);
    await s3cmd('del', 's3://cmd/top/plain.txt');
    // Many at once, named in XML.
    await s3cmd('del', '--recursive', '--force', 's3://cmd/');
    assert.equal((await s3cmd('ls', '--recursive', 's3://cmd')).trim(), '');
    await s3cmd('rb', 's3://cmd');
  });
});
