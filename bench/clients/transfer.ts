/** Sends one request with a body of `up` bytes and reads the answer to the end of the connection. Answers with the time it took. */
import { connect } from 'node:net';

interface Task {
  port: number;
  host: string;
  path: string;
  up: number;
  /** POST if there is a body, else GET, by default. */
  method?: string;
}

export interface Transferred {
  ms: number;
  /** Bytes of the whole answer. */
  bytes: number;
  /** The beginning of the answer. */
  head: string;
  /** The end of the answer. */
  tail: string;
}

const { port, host, path, up, method = up > 0 ? 'POST' : 'GET' } = JSON.parse(process.argv[2]!) as Task;
const piece = Buffer.alloc(256 * 1024, 'a');
const buffer = Buffer.alloc(256 * 1024);
let left = up;
let bytes = 0;
let head = '';
let tail = '';
const begun = performance.now();
const socket = connect({
  port,
  host: '127.0.0.1',
  onread: {
    buffer,
    callback(size) {
      bytes += size;
      if (head.length < 4096) head += buffer.toString('latin1', 0, Math.min(size, 4096));
      tail = buffer.toString('latin1', Math.max(0, size - 64), size);
      return true;
    },
  },
});
socket.write(`${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\nContent-Length: ${up}\r\n\r\n`);
function send(): void {
  while (left > 0) {
    const size = Math.min(left, piece.length);
    left -= size;
    if (!socket.write(size === piece.length ? piece : piece.subarray(0, size))) return;
  }
}
socket.on('drain', send);
send();
socket.on('error', (error) => {
  console.error(`the transfer failed: ${error.message}`);
  process.exit(1);
});
socket.on('end', () => {
  process.send!({ ms: performance.now() - begun, bytes, head, tail } satisfies Transferred);
});
