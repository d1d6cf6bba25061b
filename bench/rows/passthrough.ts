import { HELLO, type Row } from '../lib.ts';
import { wrk } from '../programs.ts';
import { beforeTheSameWorker, efficiency } from '../proxies.ts';

const CONNECTIONS = 64;
const SECONDS = 4;
const GOAL = 0.6;

export const row: Row = {
  what: `requests per CPU-second of the edge process alone, pass-through to one Worker, ${CONNECTIONS} connections`,
  against: 'nginx proxy_pass to the same workerd',
  goal: `>= ${GOAL}x`,
  needs: ['wrk', 'nginx'],
  run() {
    return beforeTheSameWorker(HELLO, (proxies) =>
      efficiency(proxies, GOAL, ({ http }) => wrk(http, proxies.host, CONNECTIONS, SECONDS)),
    );
  },
};
