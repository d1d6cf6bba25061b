/**
 * Sends requests at a steady rate on kept connections and answers with their latencies. Each connection has one request at a time; one
 * that could not be sent when it was due because the one before was still open counts from when it was due.
 */
import { connect, type Socket } from 'node:net';

interface Task {
  port: number;
  host: string;
  connections: number;
  /** Requests per second of all connections together. */
  rate: number;
  seconds: number;
}

export interface Latencies {
  p50: number;
  p99: number;
  answered: number;
  failed: number;
}

const { port, host, connections, rate, seconds } = JSON.parse(process.argv[2]!) as Task;
const request = `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
const periodMs = (connections * 1000) / rate;
const latencies: number[] = [];
const begun = performance.now();
const endAt = begun + seconds * 1000;
let failed = 0;

/** One connection: its requests are due every `periodMs`. */
class Pacer {
  #socket: Socket;
  #due: number;
  /** When the open request was due or sent, -1 if none is open. */
  #since = -1;
  #waiting = '';

  constructor(firstDue: number) {
    this.#due = firstDue;
    this.#socket = this.#connect();
    this.#schedule();
  }

  #connect(): Socket {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    socket.setEncoding('latin1').on('data', (text) => this.#onText(String(text)));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      if (this.#since >= 0) failed++;
      this.#since = -1;
      this.#waiting = '';
      if (performance.now() < endAt) this.#socket = this.#connect();
    });
    return socket;
  }

  #schedule(): void {
    setTimeout(() => this.#onDue(), Math.max(0, this.#due - performance.now()));
  }

  #onDue(): void {
    const now = performance.now();
    if (now >= endAt) return;
    // Still open: the answer sends the next one, which has been waiting since it was due.
    if (this.#since >= 0) return;
    this.#send(now);
  }

  #send(since: number): void {
    this.#since = since;
    this.#due += periodMs;
    this.#socket.write(request, 'latin1');
  }

  #onText(text: string): void {
    this.#waiting += text;
    const head = this.#waiting.indexOf('\r\n\r\n');
    if (head < 0 || this.#since < 0) return;
    const length = Number(/content-length: (\d+)/i.exec(this.#waiting.slice(0, head))?.[1] ?? 0);
    if (this.#waiting.length < head + 4 + length) return;
    const now = performance.now();
    if (this.#waiting.startsWith('HTTP/1.1 200 ')) latencies.push(now - this.#since);
    else failed++;
    this.#since = -1;
    this.#waiting = '';
    if (now >= endAt) return;
    if (this.#due <= now) this.#send(this.#due);
    else this.#schedule();
  }
}

for (let i = 0; i < connections; i++) new Pacer(begun + 100 + (i * periodMs) / connections);
setTimeout(
  () => {
    latencies.sort((a, b) => a - b);
    const at = (share: number) =>
      latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? NaN;
    process.send!({ p50: at(0.5), p99: at(0.99), answered: latencies.length, failed } satisfies Latencies);
  },
  seconds * 1000 + 500,
);
