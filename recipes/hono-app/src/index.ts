/** A whole application on Hono: routes, middleware, validation, and Node's own modules through nodejs_compat. */
import { createHash } from 'node:crypto';
import { Hono } from 'hono';
import { secureHeaders } from 'hono/secure-headers';
import { timing } from 'hono/timing';

interface Note {
  id: string;
  text: string;
}

const app = new Hono<{ Bindings: { GREETING: string } }>();
app.use(timing(), secureHeaders());

app.get('/', (c) => c.text(`${c.env.GREETING} from Hono`));
app.get('/hash/:text', (c) => c.json({ sha256: createHash('sha256').update(c.req.param('text')).digest('hex') }));
app.post('/notes', async (c) => {
  const body = await c.req.json<{ text?: unknown }>().catch(() => null);
  if (typeof body?.text !== 'string' || body.text === '') return c.json({ error: 'a note needs a text' }, 400);
  const note: Note = { id: createHash('sha1').update(body.text).digest('hex').slice(0, 8), text: body.text };
  return c.json(note, 201, { location: `/notes/${note.id}` });
});
app.get('/stream', () => {
  const encoder = new TextEncoder();
  const lines = new ReadableStream<Uint8Array>({
    async start(controller) {
      for (let i = 1; i <= 3; i++) {
        controller.enqueue(encoder.encode(`line ${i}\n`));
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      controller.close();
    },
  });
  return new Response(lines);
});
app.onError((error, c) => c.json({ error: error.message }, 500));

export default app;
