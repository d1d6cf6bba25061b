/** connect() of a Worker: CONNECT becomes a TCP connection to a checked address (RFC 9110, section 9.3.6). */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Connector } from './connector.ts';
import type { Meter } from './egress-meter.ts';
import { toOriginError } from './origin-errors.ts';

/** Sending mail is refused as by Cloudflare (TCP sockets, "Considerations"). */
const SMTP_PORT = 25;

/** Answers the CONNECT on `socket` with 200 when there is a connection, else with a status and the reason as its phrase. */
export function tunnel(
  connector: Connector,
  meter: Meter,
  hostname: string,
  port: number,
  socket: Duplex,
  early: Buffer,
): void {
  const fail = (error: unknown) => {
    const { status, text, refused } = toOriginError(error, { host, servername: '' });
    if (refused) meter.refused++;
    refuseConnect(socket, status, text);
  };
  const host = hostname.replace(/^\[|\]$/g, '');
  if (port === SMTP_PORT) {
    meter.refused++;
    refuseConnect(socket, 403, 'Connections to port 25 are prohibited');
    return;
  }
  let remote: Socket;
  try {
    remote = connector.tcp(host, port);
  } catch (error) {
    fail(error);
    return;
  }
  remote.once('error', fail);
  socket.once('close', () => remote.destroy());
  remote.once('connect', () => {
    remote.off('error', fail);
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    if (early.length > 0) {
      meter.bytesOut += early.length;
      remote.write(early);
    }
    join(socket, remote, meter);
  });
}

/** Bytes both ways, counted; each side's end is passed on, and what breaks on one side ends the other. */
export function join(worker: Duplex, remote: Duplex, meter?: Meter): void {
  worker.on('error', () => remote.destroy());
  remote.on('error', () => worker.destroy());
  worker.on('close', () => remote.destroy());
  remote.on('close', () => worker.destroy());
  if (meter) {
    worker.on('data', (chunk: Buffer) => {
      meter.bytesOut += chunk.length;
    });
    remote.on('data', (chunk: Buffer) => {
      meter.bytesIn += chunk.length;
    });
  }
  worker.pipe(remote);
  remote.pipe(worker);
}

export function refuseConnect(socket: Duplex, status: number, text: string): void {
  const phrase = text.replace(/[^\x20-\x7e]/g, '?');
  socket.end(`HTTP/1.1 ${status} ${phrase}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
}
