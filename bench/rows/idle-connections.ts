import type { Open } from '../clients/idle.ts';
import { HELLO, type Row } from '../lib.ts';
import { Client, openFilesLimit, privateBytes } from '../programs.ts';
import { beforeTheSameWorker } from '../proxies.ts';

const CONNECTIONS = 10_000;
const PER_ADDRESS = 100;
/** Beside the connections: sockets to the Worker, files of the program. */
const OTHER_FILES = 1_000;
const WARM_UP = 500;
const SETTLE_MS = 5_000;
const GOAL = 3;

export const row: Row = {
  what: `${CONNECTIONS} idle TLS connections after one request each, private memory of the process per connection`,
  against: 'nginx',
  goal: `<= ${GOAL}x`,
  needs: ['nginx'],
  async run() {
    if (openFilesLimit() < CONNECTIONS + OTHER_FILES)
      throw new Error(
        `this row needs ${CONNECTIONS + OTHER_FILES} open files and the hard limit is ${openFilesLimit()}: prlimit --pid $$ --nofile=${2 * CONNECTIONS}`,
      );
    return beforeTheSameWorker(HELLO, async ({ edge, host, edgePid, nginx }) => {
      const settled = () => new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      /** Bytes of the process for each connection. */
      const perConnection = async (port: number, pid: number) => {
        const task = { port, host, perAddress: PER_ADDRESS };
        const first = new Client('idle', { ...task, connections: WARM_UP });
        await first.message();
        await first.stop();
        await settled();
        const before = privateBytes(pid);
        const clients = new Client('idle', { ...task, connections: CONNECTIONS });
        try {
          await clients.message<Open>();
          await settled();
          const bytes = (privateBytes(pid) - before) / CONNECTIONS;
          const { open } = await clients.ask<Open>();
          if (open !== CONNECTIONS) throw new Error(`only ${open} of ${CONNECTIONS} connections stayed open`);
          return bytes;
        } finally {
          await clients.stop();
        }
      };
      const ours = await perConnection(edge.https, edgePid);
      const theirs = await perConnection(nginx.https, nginx.worker);
      const ratio = ours / theirs;
      return {
        measured: `${ratio.toFixed(2)}x`,
        detail: `${(ours / 1024).toFixed(1)} and ${(theirs / 1024).toFixed(1)} KB each, HTTP/1.1`,
        met: ratio <= GOAL,
      };
    });
  },
};
