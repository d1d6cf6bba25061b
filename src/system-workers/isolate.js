// Runs beside a Worker that has handlers of events which do not come over HTTP, on a socket that only the machine's own processes reach,
// and delivers those events.

// A byte order mark is a part of the text.
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

// The head is JSON behind its length in four bytes, the bodies of the messages stand behind it one after the other.
function readBatch(bytes) {
  const headEnd = 4 + new DataView(bytes).getUint32(0);
  const head = JSON.parse(utf8.decode(new Uint8Array(bytes, 4, headEnd - 4)));
  let at = headEnd;
  const messages = head.messages.map(({ id, timestamp, attempts, format, size }) => {
    const body = bytes.slice(at, at + size);
    at += size;
    return { id, timestamp: new Date(timestamp), attempts, ...content(format, body) };
  });
  const { queue, metrics } = head;
  const oldestMessageTimestamp = new Date(metrics.oldestMessageTimestamp);
  return { queue, messages, metadata: { metrics: { ...metrics, oldestMessageTimestamp } } };
}

function content(format, body) {
  if (format === 'text') return { body: utf8.decode(body) };
  if (format === 'json') return { body: JSON.parse(utf8.decode(body)) };
  if (format === 'bytes') return { body: new Uint8Array(body) };
  // What the runtime wrote: it reads that itself, in the Worker's own isolate.
  return { serializedBody: body };
}

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === '/scheduled') {
      const { cron, scheduledTime } = await request.json();
      const { outcome } = await env.USER.scheduled({ cron, scheduledTime: new Date(scheduledTime) });
      return Response.json({ outcome });
    }
    if (pathname === '/queue') {
      const { queue, messages, metadata } = readBatch(await request.arrayBuffer());
      return Response.json(await env.USER.queue(queue, messages, metadata));
    }
    return new Response('not found', { status: 404 });
  },
};
