/** Takes pictures, and has a queue make of them what takes longer than a visitor waits. */
import { isJpeg, jpegSize } from './jpeg.ts';
import { isPng, readPng, smaller, writePng } from './png.ts';

interface Bucket {
  put(key: string, value: ArrayBuffer | Uint8Array | string): Promise<unknown>;
  get(key: string): Promise<{ arrayBuffer(): Promise<ArrayBuffer>; json(): Promise<any>; body: ReadableStream } | null>;
  list(options: {
    prefix: string;
    cursor?: string;
  }): Promise<{ objects: { key: string }[]; truncated: boolean; cursor?: string }>;
}
interface Env {
  IMAGES: Bucket;
  UPLOADS: { send(job: Job): Promise<unknown> };
}
interface Job {
  id: string;
}
interface Message {
  body: Job;
  attempts: number;
  ack(): void;
  retry(): void;
}
interface Status {
  state: 'waiting' | 'done' | 'failed';
  format?: 'png' | 'jpeg';
  width?: number;
  height?: number;
  thumbnail?: boolean;
  /** Why the latest attempt failed. */
  error?: string;
  attempts?: number;
}

const MAX_BYTES = 10_000_000;
const THUMBNAIL = 64;

const statusOf = async ({ IMAGES }: Env, id: string): Promise<Status | null> =>
  (await IMAGES.get(`status/${id}`))?.json();
const setStatus = ({ IMAGES }: Env, id: string, status: Status) => IMAGES.put(`status/${id}`, JSON.stringify(status));

async function upload(request: Request, env: Env): Promise<Response> {
  if (Number(request.headers.get('content-length') ?? Number.NaN) > MAX_BYTES)
    return new Response('Too large', { status: 413 });
  const bytes = await request.arrayBuffer();
  if (bytes.byteLength === 0 || bytes.byteLength > MAX_BYTES) return new Response('A picture, please', { status: 400 });
  const id = crypto.randomUUID();
  await env.IMAGES.put(`original/${id}`, bytes);
  await setStatus(env, id, { state: 'waiting' });
  // Last: what the consumer needs is there when the message comes.
  await env.UPLOADS.send({ id });
  return Response.json({ id }, { status: 202 });
}

async function process(env: Env, { id }: Job): Promise<void> {
  const original = await env.IMAGES.get(`original/${id}`);
  if (!original) throw new Error('the original is gone');
  const bytes = new Uint8Array(await original.arrayBuffer());
  if (isPng(bytes)) {
    const picture = await readPng(bytes);
    await env.IMAGES.put(`thumbnail/${id}`, await writePng(smaller(picture, THUMBNAIL)));
    const { width, height } = picture;
    await setStatus(env, id, { state: 'done', format: 'png', width, height, thumbnail: true });
  } else if (isJpeg(bytes)) {
    await setStatus(env, id, { state: 'done', format: 'jpeg', ...jpegSize(bytes), thumbnail: false });
  } else throw new Error('neither PNG nor JPEG');
}

async function failed(env: Env): Promise<Response> {
  const found: ({ id: string } & Status)[] = [];
  for (let cursor: string | undefined; ; ) {
    const page = await env.IMAGES.list({ prefix: 'failed/', cursor });
    for (const { key } of page.objects) {
      const id = key.slice('failed/'.length);
      found.push({ id, ...(await statusOf(env, id))! });
    }
    if (!page.truncated) return Response.json(found);
    cursor = page.cursor;
  }
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname === '/images' && request.method === 'POST') return upload(request, env);
    if (pathname === '/failed') return failed(env);
    const [, id, thumbnail] = /^\/images\/([\w-]{36})(\/thumbnail)?$/.exec(pathname) ?? [];
    if (id && thumbnail) {
      const found = await env.IMAGES.get(`thumbnail/${id}`);
      if (found) return new Response(found.body, { headers: { 'content-type': 'image/png' } });
    } else if (id) {
      const status = await statusOf(env, id);
      if (status) return Response.json(status);
    }
    return new Response('Not here', { status: 404 });
  },

  async queue({ queue, messages }: { queue: string; messages: Message[] }, env: Env): Promise<void> {
    for (const message of messages) {
      const { id } = message.body;
      if (queue === 'image-failures') {
        await setStatus(env, id, { ...(await statusOf(env, id)), state: 'failed' });
        await env.IMAGES.put(`failed/${id}`, '');
        continue;
      }
      try {
        await process(env, message.body);
        message.ack();
      } catch (error) {
        await setStatus(env, id, { state: 'waiting', error: (error as Error).message, attempts: message.attempts });
        message.retry();
      }
    }
  },
};
