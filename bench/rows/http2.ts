import { HELLO, type Row } from '../lib.ts';
import { h2load } from '../programs.ts';
import { beforeTheSameWorker, efficiency } from '../proxies.ts';

const CONNECTIONS = 16;
const STREAMS = 8;
const SECONDS = 4;
const GOAL = 0.7;

export const row: Row = {
  what: `the same over HTTP/2 and TLS (ECDSA P-256), ${CONNECTIONS} connections of ${STREAMS} streams`,
  against: 'nginx with TLS and HTTP/2 before the same workerd',
  goal: `>= ${GOAL}x`,
  needs: ['h2load', 'nginx'],
  run() {
    return beforeTheSameWorker(HELLO, (proxies) =>
      efficiency(proxies, GOAL, ({ https }) => h2load(https, proxies.host, CONNECTIONS, STREAMS, SECONDS)),
    );
  },
};
