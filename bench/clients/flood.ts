/**
 * Malformed and abusive requests at steady rates, from several loopback addresses, until it is stopped. Asked for them, it answers how many
 * of each kind it has begun. What the edge answers does not matter here, only that what it cuts comes anew.
 */
import { connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

interface Task {
  http: number;
  https: number;
  host: string;
  /** Last byte of the first address that it comes from. */
  firstAddress: number;
}

export type Begun = Record<string, number>;

const { http, https, host, firstAddress } = JSON.parse(process.argv[2]!) as Task;
const ADDRESSES = 10;
/** Pause between the bytes of a slow head. */
const SLOW_MS = 200;
const RESET_MS = 20;
/** A connection that the edge neither answers nor cuts is given up after this. */
const PATIENCE_MS = 3_000;
/** Connections of one kind that are open at the same time at most. */
const MAX_OPEN = 300;

const get = (lines: string) => `GET / HTTP/1.1\r\n${lines}\r\n`;
const post = (lines: string, body: string) => `POST / HTTP/1.1\r\nHost: ${host}\r\n${lines}\r\n${body}`;
/** RFC 9112: what a server has to refuse, and what proxies have been fooled with. */
const MALFORMED = [
  post('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n'),
  post('Content-Length: 5\r\nContent-Length: 6\r\n', 'aaaaaa'),
  post('Content-Length: -1\r\n', ''),
  post('Transfer-Encoding: chunked\r\n', 'zz\r\naa\r\n0\r\n\r\n'),
  post('Transfer-Encoding: chunked, identity\r\n', '0\r\n\r\n'),
  post('Transfer-Encoding : chunked\r\n', '0\r\n\r\n'),
  get(`Host: ${host}\r\nHost: other.example\r\n`),
  get(`Host: ${host}\r\nX-Folded: a\r\n b\r\n`),
  get(`Host: ${host}\r\nX-Nul: a\0b\r\n`),
  get(`Host : ${host}\r\n`),
  get(''),
  `GET / HTTP/1.1\nHost: ${host}\n\n`,
  `GET  / HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  `GET / HTTP/9.9\r\nHost: ${host}\r\n\r\n`,
  `GET http://other.example:99999/ HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  'CONNECT internal.example:22 HTTP/1.1\r\nHost: internal.example:22\r\n\r\n',
  `TRACE / HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
  '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  '\0\0\0\0\0\0\0\0',
  'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0',
];
const OVERSIZED = get(`Host: ${host}\r\n${'X-Filler: '.padEnd(1000, 'a')}\r\n`.repeat(100));
const MANY_HEADERS = get(`Host: ${host}\r\n${'a: b\r\n'.repeat(5_000)}`);
const NOBODY = get('Host: nobody.example\r\n');
const HTTP2_PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
/** HTTP/2 frames that nobody may send so: SETTINGS on a stream, a DATA frame on stream 0, a header block that is no HPACK. */
const BAD_FRAMES = ['\0\0\0\x04\0\0\0\0\x01', '\0\0\x01\0\0\0\0\0\0a', '\0\0\x03\x01\x05\0\0\0\x01\xff\xff\xff'];

const begun: Begun = {};
const open: Record<string, number> = {};
let number = 0;

function any<T>(list: T[]): T {
  return list[number++ % list.length]!;
}

function address(): string {
  return `127.0.2.${firstAddress + (number++ % ADDRESSES)}`;
}

/** Counts a connection of a kind until it is closed, and gives it up in time. */
function watch(kind: string, socket: Socket): Socket {
  open[kind] = (open[kind] ?? 0) + 1;
  const timer = setTimeout(() => socket.destroy(), PATIENCE_MS);
  socket.on('error', () => undefined);
  socket.once('close', () => {
    clearTimeout(timer);
    open[kind]!--;
  });
  return socket;
}

function dial(kind: string, port = http): Socket {
  return watch(kind, connect({ port, host: '127.0.0.1', localAddress: address() }));
}

/** Sends text and waits for the edge to close. */
function send(kind: string, text: string): void {
  dial(kind).resume().end(text, 'latin1');
}

/** A head that comes one byte at a time. */
function slow(kind: string): void {
  const socket = dial(kind).resume();
  let sent = 0;
  const text = get(`Host: ${host}\r\n`);
  const timer = setInterval(() => socket.write(text[sent++ % text.length]!), SLOW_MS);
  socket.once('close', () => clearInterval(timer));
}

/** Asks and never reads the answers. */
function unread(kind: string): void {
  dial(kind)
    .pause()
    .write(get(`Host: ${host}\r\n`).repeat(50));
}

function tls(kind: string, protocols: string[], text: string): void {
  const raw = dial(kind, https);
  const socket = connectTls({ socket: raw, servername: host, rejectUnauthorized: false, ALPNProtocols: protocols });
  socket.on('error', () => undefined);
  socket.once('secureConnect', () => socket.write(text, 'latin1'));
  socket.resume();
}

/** HTTP/2 rapid reset: streams that are cancelled as soon as they are asked for (CVE-2023-44487). */
function rapidReset(kind: string): void {
  const raw = dial(kind, https);
  const session = connectHttp2(`https://${host}`, {
    createConnection: () =>
      connectTls({ socket: raw, servername: host, rejectUnauthorized: false, ALPNProtocols: ['h2'] }),
  });
  session.on('error', () => undefined);
  const timer = setInterval(() => {
    for (let i = 0; i < 20 && !session.destroyed && !session.closed; i++) {
      begun['reset streams'] = (begun['reset streams'] ?? 0) + 1;
      const stream = session.request({ ':path': '/', ':authority': host });
      stream.on('error', () => undefined);
      stream.close(8 /* CANCEL, RFC 9113, 7 */);
    }
  }, RESET_MS);
  raw.once('close', () => {
    clearInterval(timer);
    session.destroy();
  });
}

/** Kind -> how many a second, and how one is begun. */
const KINDS: Record<string, [number, (kind: string) => void]> = {
  malformed: [250, (kind) => send(kind, any(MALFORMED))],
  'unknown host': [150, (kind) => send(kind, NOBODY)],
  'too large': [25, (kind) => send(kind, any([OVERSIZED, MANY_HEADERS]))],
  'connection without a request': [50, (kind) => dial(kind).resume().end()],
  'slow head': [50, slow],
  'unread answers': [5, unread],
  'no TLS': [
    50,
    (kind) =>
      watch(kind, connect({ port: https, host: '127.0.0.1' }))
        .resume()
        .end(any(MALFORMED)),
  ],
  'malformed in TLS': [10, (kind) => tls(kind, ['http/1.1'], any(MALFORMED))],
  'bad HTTP/2': [10, (kind) => tls(kind, ['h2'], HTTP2_PREFACE + any(BAD_FRAMES))],
  'rapid reset': [3, rapidReset],
};

/** Begins one at a time, as independent senders would: the pauses are distributed exponentially. */
for (const [kind, [perSecond, begin]] of Object.entries(KINDS)) {
  let due = performance.now();
  const next = () => {
    for (; due <= performance.now(); due += (-Math.log(1 - Math.random()) * 1000) / perSecond) {
      if ((open[kind] ?? 0) >= MAX_OPEN) continue;
      begun[kind] = (begun[kind] ?? 0) + 1;
      begin(kind);
    }
    setTimeout(next, Math.max(0, due - performance.now()));
  };
  next();
}
process.on('message', () => process.send!(begun));
