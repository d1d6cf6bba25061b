/** The house stays tidy: what a reviewer would otherwise have to look for in every change. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '..');
const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((file) => file && existsSync(join(root, file)));
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const sources = files.filter((file) => /\.(ts|js)$/.test(file));

test('no source has more than 450 lines', () => {
  const long = sources.filter((file) => read(file).split('\n').length > 450);
  assert.deepEqual(long, []);
});

test('every folder of src stands in ARCHITECTURE.md', () => {
  const folders = new Set(
    files.map((file) => /^src\/[^/]+(?=\/)/.exec(file)?.[0]).filter((name) => name !== undefined),
  );
  const text = read('ARCHITECTURE.md');
  assert.deepEqual(
    [...folders].filter((folder) => !text.includes(folder)),
    [],
  );
});

test('every file that ARCHITECTURE.md names exists', () => {
  const named = [...read('ARCHITECTURE.md').matchAll(/`((?:src|test|bench|recipes)\/[\w./-]+\.ts)`/g)].map(
    (match) => match[1]!,
  );
  assert.ok(named.length > 10);
  assert.deepEqual(
    named.filter((file) => !existsSync(join(root, file))),
    [],
  );
});

test('every dependency has its reason in CONTRIBUTING.md', () => {
  const pkg = JSON.parse(read('package.json'));
  const text = read('CONTRIBUTING.md');
  const names = Object.keys({ ...pkg.dependencies, ...pkg.devDependencies, ...pkg.optionalDependencies });
  const unnamed = names.filter((name) => {
    const family = name.replace(/^(@[^/]+\/).*/, '$1*').replace(/-linux-?(64|arm64|x64)$/, '-*');
    const short = name.replace(/(-linux)?-(64|arm64|x64)$/, '');
    return ![name, family, `${short}-*`, `${short}-linux-*`].some((form) => text.includes(`\`${form}\``));
  });
  assert.deepEqual(unnamed, []);
});

test('every source below src is imported by another one or is an entry', () => {
  const entries = /(\.test\.ts|\/process\.ts|src\/cli\/main\.ts)$/;
  const imported = new Set<string>();
  for (const file of sources) {
    const text = read(file);
    for (const match of text.matchAll(/(?:from|import\(?)\s*'(\.[^']+)'/g)) {
      imported.add(normalize(join(dirname(file), match[1]!)));
    }
    // Files that are handed to another program are named by path.
    for (const match of text.matchAll(/'(?:[\w./]*\/)?([\w-]+\.(?:ts|js))'/g)) imported.add(match[1]!);
  }
  const dead = sources.filter(
    (file) =>
      file.startsWith('src/') && !entries.test(file) && !imported.has(file) && !imported.has(file.replace(/.*\//, '')),
  );
  assert.deepEqual(dead, []);
});

test('no unfinished work is marked in the sources and no path of a machine is named', () => {
  const marked = sources
    .filter((file) => file !== 'src/tidy.test.ts')
    .filter((file) => /\b(TODO|FIXME|XXX)\b|(^|[\s'"`])\/(work|root)\//m.test(read(file)));
  assert.deepEqual(marked, []);
});
