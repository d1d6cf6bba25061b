// A KV binding in the user's isolate: answers hot keys from the memory of the process, all else is the runtime's own KV bindings: for reads the
// one that fills the memory, for the rest one without it.

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const MIN_CACHE_TTL = 30;

function asText(value) {
  return typeof value === 'string' ? value : decoder.decode(value);
}

function asBytes(value) {
  return typeof value === 'string' ? encoder.encode(value) : value;
}

const CONVERSIONS = {
  text: asText,
  json: (value) => JSON.parse(asText(value)),
  arrayBuffer: (value) => asBytes(value).buffer,
  stream: (value) => new Response(asBytes(value)).body,
};

/** The conversion that the options of a read ask for; undefined if the runtime has to look at them. */
function conversionOf(options) {
  if (options === undefined || options === null) return asText;
  if (typeof options === 'string') return Object.hasOwn(CONVERSIONS, options) ? CONVERSIONS[options] : undefined;
  const { type = 'text', cacheTtl } = options;
  if (cacheTtl !== undefined && !(Number.isInteger(cacheTtl) && cacheTtl >= MIN_CACHE_TTL)) return undefined;
  return Object.hasOwn(CONVERSIONS, type) ? CONVERSIONS[type] : undefined;
}

class KvNamespace {
  #native;
  #direct;
  #cache;
  #prefix;

  constructor({ native, direct, cache, namespace }) {
    this.#native = native;
    this.#direct = direct;
    this.#cache = cache;
    this.#prefix = `${namespace}/`;
  }

  get(key, options) {
    const convert = typeof key === 'string' ? conversionOf(options) : undefined;
    if (!convert) return this.#native.get(key, options);
    return this.#cache.read(this.#prefix + key).then((entry) => {
      if (entry === undefined) return this.#native.get(key, options);
      return entry.value === null ? null : convert(entry.value);
    });
  }

  getWithMetadata(key, options) {
    const convert = typeof key === 'string' ? conversionOf(options) : undefined;
    if (!convert) return this.#native.getWithMetadata(key, options);
    return this.#cache.read(this.#prefix + key).then((entry) => {
      if (entry === undefined) return this.#native.getWithMetadata(key, options);
      const { value, metadata } = entry;
      return {
        value: value === null ? null : convert(value),
        metadata: metadata === null ? null : JSON.parse(metadata),
        cacheStatus: 'HIT',
      };
    });
  }

  put(key, value, options) {
    return this.#direct.put(key, value, options);
  }

  delete(key) {
    return this.#direct.delete(key);
  }

  list(options) {
    return this.#direct.list(options);
  }
}

export default (env) => new KvNamespace(env);
