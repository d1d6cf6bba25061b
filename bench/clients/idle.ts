/**
 * Opens TLS connections from several loopback addresses, sends one request on each, and keeps them. Answers when all are open; asked for
 * their number later, it answers how many are left.
 */
import { type ConnectionOptions, connect, createSecureContext } from 'node:tls';

interface Task {
  port: number;
  host: string;
  connections: number;
  perAddress: number;
}

export interface Open {
  open: number;
}

const { port, host, connections, perAddress } = JSON.parse(process.argv[2]!) as Task;
/** Handshakes at the same time. */
const OPENERS = 32;
const secureContext = createSecureContext();
let begun = 0;
let open = 0;

/** Resolves when the connection has its first answer. */
function openOne(number: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const block = Math.floor(number / perAddress);
    const socket = connect({
      port,
      host: '127.0.0.1',
      localAddress: `127.0.${1 + Math.floor(block / 250)}.${1 + (block % 250)}`,
      servername: host,
      secureContext,
      // What is measured is memory, and the certificate is of an authority of its own.
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
      // Passed on to net.connect, which Node's types do not say.
    } as ConnectionOptions);
    socket.once('secureConnect', () => socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`));
    socket.once('data', (text) => {
      if (!text.toString('latin1').startsWith('HTTP/1.1 200 ')) return reject(new Error(`the answer is ${text}`));
      open++;
      socket.once('close', () => open--);
      resolve();
    });
    socket.on('error', reject);
  });
}

await Promise.all(
  Array.from({ length: OPENERS }, async () => {
    while (begun < connections) await openOne(begun++);
  }),
);
process.send!({ open } satisfies Open);
process.on('message', () => process.send!({ open } satisfies Open));
