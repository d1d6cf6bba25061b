// An Analytics Engine binding in the user's isolate: points that one turn writes go out together. The runtime's own binding makes a request
// of each, and as many connections at once.
import entrypoints from 'cloudflare-internal:workers';

const MAX_VALUES = 20;
const MAX_INDEX_BYTES = 96;
const MAX_BLOB_BYTES = 16 * 1024;
const MAX_POINTS = 250;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Points of the current turn, null if it wrote none yet. */
let batch = null;

function fail(message) {
  throw new TypeError(`writeDataPoint(): ${message}`);
}

function listOf(value, name, most) {
  if (value === undefined || value === null) return [];
  const list = Array.from(value);
  if (list.length > most) fail(`Maximum of ${most} ${name} supported.`);
  return list;
}

/** Text of a string or of bytes; what is no UTF-8 is replaced. */
function textOf(value) {
  if (value === undefined || value === null) return '';
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return decoder.decode(value);
  return String(value).toWellFormed();
}

function pointOf(dataset, { indexes, blobs, doubles } = {}) {
  const [index = ''] = listOf(indexes, 'indexes', 1).map(textOf);
  if (encoder.encode(index).length > MAX_INDEX_BYTES) fail(`Size of indexes[0] exceeds ${MAX_INDEX_BYTES} bytes.`);
  const texts = listOf(blobs, 'blobs', MAX_VALUES).map(textOf);
  const size = texts.reduce((sum, text) => sum + encoder.encode(text).length, 0);
  if (size > MAX_BLOB_BYTES) fail(`Cumulative size of blobs exceeds ${MAX_BLOB_BYTES} bytes.`);
  // What is not finite is null in JSON, and 0 in the store.
  return [dataset, index, texts, listOf(doubles, 'doubles', MAX_VALUES).map(Number)];
}

async function send(sink, points) {
  try {
    const response = await sink.fetch('http://analytics-engine/', { method: 'POST', body: JSON.stringify(points) });
    await response.arrayBuffer();
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  } catch (error) {
    console.warn(`Analytics Engine: ${points.length} data points were not written (${error.message}).`);
  }
}

class AnalyticsEngineDataset {
  #sink;
  #dataset;

  constructor({ sink, dataset }) {
    this.#sink = sink;
    this.#dataset = dataset;
  }

  writeDataPoint(event) {
    const point = pointOf(this.#dataset, event ?? {});
    if (batch === null) {
      const sink = this.#sink;
      batch = [];
      // Runs before another request has its turn, so the points are of one invocation.
      const sent = Promise.resolve().then(() => {
        const points = batch;
        batch = null;
        return points && send(sink, points);
      });
      try {
        entrypoints.waitUntil(sent);
      } catch (error) {
        batch = null;
        throw error;
      }
    }
    if (batch.length >= MAX_POINTS) fail(`Maximum of ${MAX_POINTS} data points at once supported.`);
    batch.push(point);
  }
}

export default (env) => new AnalyticsEngineDataset(env);
