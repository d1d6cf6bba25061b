/**
 * Service bindings: bytes from a caller's socket to the current process of the target Worker. Which Worker that is was said by
 * the supervisor when it attached the caller; nothing that the caller sends is read, so it cannot reach another.
 *
 * Connections stay open between calls. Which of them are in use is `rpc-activity.ts`. When a process leaves its set (switch-over),
 * connections of `fetch()` get the new process behind them between two requests; those of RPC are closed as soon as they are not in use,
 * and the callers connect anew, to the new process.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { log, reason } from '../model/log.ts';
import type { Attach, IsolateRef, IsolateSet, Publications } from '../model/messages.ts';
import { pickVersion } from '../model/traffic.ts';
import type { Bus } from '../state/bus.ts';
import type { Directory } from './directory.ts';
import { type Activity, createActivity } from './rpc-activity.ts';

const TICK_MS = 200;
/** A connection that is not in use at this many ticks in a row may be closed. */
const QUIET_TICKS = 2;
const MAX_LEAVING_MS = 30_000;
const CLOSE_GRACE_MS = 1_000;
/** The name under which this process reports; the supervisor waits for its release. */
const NAME = 'data';

interface Connection {
  caller: Socket;
  target: Socket;
  activity: Activity;
  quietTicks: number;
  /** Puts the caller's connection before the current process; only while `activity.betweenRequests`. */
  retarget(): void;
}

export interface Relays {
  /** The server of one service binding of a caller; the caller lets it listen. */
  server(accountId: string, service: Attach['services'][number]): Server;
  /** A new set of processes of a version: those that are gone are left. */
  onIsolates(set: IsolateSet): void;
  close(): void;
}

/** `directory` is asked for with each connection: it calls `onIsolates` while it is being opened. */
export function createRelays(bus: Bus, directory: () => Directory): Relays {
  const connections = new Map<string, Set<Connection>>();
  /** Version id -> ids of its processes. */
  const current = new Map<string, Set<string>>();
  /** Isolate id -> when it left its set, while connections to it are open. */
  const leaving = new Map<string, number>();
  const started = new Map<string, number>();
  const reported = new Map<string, number>();

  /** The process that a new call goes to. Throws why there is none. */
  async function findTarget(accountId: string, script: string): Promise<IsolateRef> {
    const doc = directory().script(accountId, script);
    if (!doc) throw new Error(`there is no Worker ${script}`);
    const versionId = pickVersion(doc.deployment?.versions ?? []);
    if (!versionId) throw new Error(`Worker ${script} has no deployment`);
    if (directory().version(accountId, script, versionId)?.hasCode === false) {
      throw new Error(`Worker ${script} has assets only, no code to call`);
    }
    const set = directory().isolates(versionId) ?? (await directory().wake(versionId));
    const load = (isolate: IsolateRef) => connections.get(isolate.id)?.size ?? 0;
    const [first, ...others] = set.isolates;
    if (!first) throw new Error(`version ${versionId} of Worker ${script} does not run`);
    return others.reduce((least, isolate) => (load(isolate) < load(least) ? isolate : least), first);
  }

  async function relay(caller: Socket, accountId: string, service: Attach['services'][number]): Promise<void> {
    const { script, entrypoint, object } = service;
    const isolate = await findTarget(accountId, script);
    const path = object === undefined ? isolate.rpc[entrypoint] : isolate.objects?.[object];
    if (!path)
      throw new Error(`Worker ${script} has no ${object ? `Durable Objects ${object}` : `entrypoint ${entrypoint}`}`);
    if (caller.destroyed) return;
    const target = connect({ path, allowHalfOpen: true });
    const activity = createActivity();
    const all = connections.get(isolate.id) ?? new Set();
    const fromCaller = (chunk: Buffer) => {
      started.set(isolate.id, (started.get(isolate.id) ?? 0) + activity.fromCaller(chunk));
    };
    const forget = () => {
      if (!all.delete(connection) || all.size > 0) return;
      if (connections.get(isolate.id) === all) connections.delete(isolate.id);
      if (leaving.delete(isolate.id)) release(isolate.id);
    };
    const onCallerClose = () => target.destroy();
    /** Between two requests the caller keeps its connection and gets another process behind it: no request can be lost. */
    const retarget = () => {
      caller.pause();
      caller.unpipe(target);
      target.unpipe(caller);
      caller.off('data', fromCaller).off('close', onCallerClose);
      target.removeAllListeners('close').removeAllListeners('data').on('close', forget);
      target.destroy();
      relay(caller, accountId, service).then(
        () => caller.resume(),
        (error: unknown) => refuse(caller, accountId, service, error),
      );
    };
    const connection: Connection = { caller, target, activity, quietTicks: 0, retarget };
    connections.set(isolate.id, all.add(connection));
    caller.on('data', fromCaller).on('close', onCallerClose);
    target.on('error', (error) => {
      log('info', 'a service binding lost its Worker', { script, error: reason(error) });
      caller.destroy();
    });
    target.on('close', () => {
      caller.destroy();
      forget();
    });
    caller.pipe(target);
    target.pipe(caller);
    // After the pipe's own listener: what ends an answer has been passed on when it is counted.
    target.on('data', (chunk: Buffer) => {
      activity.fromTarget(chunk);
      if (leaving.has(isolate.id) && activity.betweenRequests) retarget();
    });
  }

  function refuse(caller: Socket, accountId: string, service: Attach['services'][number], error: unknown): void {
    log('warn', 'a service binding cannot be served', { accountId, ...service, error: reason(error) });
    caller.destroy();
  }

  function release(isolate: string): void {
    bus.publish('local.released', { from: NAME, isolate } satisfies Publications['local.released']);
  }

  function closeGracefully({ caller, target }: Connection): void {
    caller.end();
    target.end();
    const timer = setTimeout(() => {
      caller.destroy();
      target.destroy();
    }, CLOSE_GRACE_MS);
    target.once('close', () => clearTimeout(timer));
  }

  function report(now: number): void {
    const isolates: Publications['local.load']['isolates'] = {};
    for (const id of new Set([...connections.keys(), ...reported.keys(), ...started.keys()])) {
      let open = 0;
      for (const { activity } of connections.get(id) ?? []) open += activity.open(now);
      const begun = started.get(id) ?? 0;
      if (open === (reported.get(id) ?? 0) && begun === 0) continue;
      isolates[id] = { open, started: begun };
      if (open > 0) reported.set(id, open);
      else reported.delete(id);
    }
    started.clear();
    if (Object.keys(isolates).length > 0) {
      bus.publish('local.load', { from: NAME, isolates } satisfies Publications['local.load']);
    }
  }

  function tick(): void {
    const now = Date.now();
    report(now);
    for (const [id, since] of leaving) {
      for (const connection of connections.get(id) ?? []) {
        connection.quietTicks = connection.activity.open(now) > 0 ? 0 : connection.quietTicks + 1;
        if (connection.quietTicks < QUIET_TICKS && now - since < MAX_LEAVING_MS) continue;
        if (!connection.target.writableEnded) closeGracefully(connection);
      }
    }
  }
  const timer = setInterval(tick, TICK_MS).unref();
  const stopReporting = bus.subscribe('local.load-wanted', () => report(Date.now()));

  return {
    server(accountId, service) {
      return createServer({ allowHalfOpen: true, pauseOnConnect: true }, (caller) => {
        caller.on('error', () => caller.destroy());
        relay(caller, accountId, service).then(
          () => caller.resume(),
          (error: unknown) => refuse(caller, accountId, service, error),
        );
      });
    },
    onIsolates(set) {
      const now = new Set(set.isolates.map(({ id }) => id));
      for (const id of current.get(set.versionId) ?? []) {
        if (now.has(id)) continue;
        const open = connections.get(id);
        if (!open) {
          release(id);
          continue;
        }
        leaving.set(id, Date.now());
        for (const connection of open) if (connection.activity.betweenRequests) connection.retarget();
      }
      if (now.size > 0) current.set(set.versionId, now);
      else current.delete(set.versionId);
    },
    close() {
      clearInterval(timer);
      stopReporting();
      for (const all of connections.values()) for (const { caller } of all) caller.destroy();
    },
  };
}
