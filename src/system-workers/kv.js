// Stands between a Worker's KV bindings and the store of the PoP, in the Worker's process: fills the memory that `kv-binding.js` reads, and
// drops from it what was written. Fills and drops meet here, in one isolate, so that what was read before a write is never kept after it.
import { WorkerEntrypoint } from 'cloudflare:workers';

/** Kept at most this long: longer than that nobody is told of writes. */
const KEEP_MS = 60_000;
/** Larger values are read from the store each time; the process has memory for few of them. */
const MAX_KEPT_BYTES = 8 * 1024 * 1024;
const MIN_CACHE_TTL = 30;
/** A key that is written all the time is answered as it was read in the end. */
const MAX_TRIES = 4;
const MAX_LARGE = 1_000;

/** Counts reads and writes, to tell which came first. */
let clock = 0;
/** Id -> reads under way. */
const readers = new Map();
/** Id -> clock of its last write, while reads are under way. */
const written = new Map();
/** Ids of values that are too large to be kept. */
const large = new Set();
/** Ids in memory -> until when, ms; for a namespace that is deleted. */
const kept = new Map();

const isStale = (id, at) => (written.get(id) ?? 0) > at;
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

class TooLarge extends Error {}

/** Text where it is one: most values are, and are asked for as such. A byte order mark is only kept in bytes. */
function toKept(bytes) {
  try {
    const text = decoder.decode(bytes);
    return text.charCodeAt(0) === 0xfeff ? bytes : text;
  } catch {
    return bytes;
  }
}

async function fetchEntry(fetchValue) {
  const response = await fetchValue();
  if (response.status === 404) return { value: null, metadata: null, expiresAt: Infinity };
  if (!response.ok) throw response;
  if (Number(response.headers.get('content-length')) > MAX_KEPT_BYTES) {
    await response.body.cancel();
    throw new TooLarge();
  }
  return {
    value: toKept(new Uint8Array(await response.arrayBuffer())),
    metadata: response.headers.get('cf-kv-metadata'),
    expiresAt: Number(response.headers.get('selvedge-kv-expires') ?? Infinity) * 1000,
  };
}

/** The entry of a key, from memory or from the store; many who miss it wait for one fetch. */
async function read(cache, id, fetchValue) {
  readers.set(id, (readers.get(id) ?? 0) + 1);
  try {
    for (let tries = 1; ; tries++) {
      const entry = await cache.read(id, async () => {
        const at = ++clock;
        const { value, metadata, expiresAt } = await fetchEntry(fetchValue);
        const until = isStale(id, at) ? 0 : Math.min(expiresAt, Date.now() + KEEP_MS);
        if (until > 0) remember(id, until);
        return { value: { value, metadata, at }, expiration: until };
      });
      if (!isStale(id, entry.at) || tries === MAX_TRIES) return entry;
    }
  } finally {
    const others = readers.get(id) - 1;
    if (others > 0) readers.set(id, others);
    else {
      readers.delete(id);
      written.delete(id);
    }
  }
}

function remember(id, until) {
  kept.set(id, until);
  if (kept.size < 20_000) return;
  const now = Date.now();
  for (const [old, end] of kept) if (end < now || kept.size > 15_000) kept.delete(old);
}

export default {
  async fetch(request, { STORE, CACHE }, { props: { namespace } }) {
    const forwarded = new Request(request);
    forwarded.headers.set('selvedge-kv', namespace);
    const { pathname, searchParams } = new URL(request.url);
    // The store says what is wrong with a caching time.
    const isPlain = Number(searchParams.get('cache_ttl') ?? MIN_CACHE_TTL) >= MIN_CACHE_TTL;
    if (request.method !== 'GET' || pathname === '/' || !isPlain) return STORE.fetch(forwarded);
    const id = `${namespace}/${decodeURIComponent(pathname.slice(1))}`;
    const fetchValue = () => STORE.fetch(request.url, { headers: forwarded.headers });
    if (large.has(id)) return fetchValue();
    try {
      const { value, metadata } = await read(CACHE, id, fetchValue);
      if (value === null) return new Response(null, { status: 404 });
      return new Response(value, metadata === null ? {} : { headers: { 'cf-kv-metadata': metadata } });
    } catch (error) {
      if (error instanceof Response) return error;
      if (!(error instanceof TooLarge)) throw error;
      if (large.size >= MAX_LARGE) large.clear();
      large.add(id);
      return fetchValue();
    }
  },
};

/** Hears of writes, on a socket that only the host reaches. */
export class Written extends WorkerEntrypoint {
  async fetch(request) {
    const { namespace, keys } = await request.json();
    const prefix = `${namespace}/`;
    const ids = keys ? keys.map((key) => prefix + key) : this.#all(namespace && prefix);
    for (const id of ids) {
      if (readers.has(id)) written.set(id, ++clock);
      large.delete(id);
      kept.delete(id);
      this.env.CACHE.delete(id);
    }
    return new Response(null, { status: 204 });
  }

  /** What may be in memory of a namespace, or of all. */
  #all(prefix) {
    return [...kept.keys(), ...readers.keys(), ...large].filter((id) => !prefix || id.startsWith(prefix));
  }
}
