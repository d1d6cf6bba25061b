/**
 * The embedded Bus. The supervisor is the hub; a child process reaches it over its IPC channel. Publications go to every process
 * that subscribed, the sender included; a request goes to the process that responds to its subject.
 */
import type { ChildProcess } from 'node:child_process';
import { log, reason } from '../model/log.ts';
import { type Bus, NoResponder, RemoteError, RequestTimeout } from './bus.ts';

const DEFAULT_TIMEOUT_MS = 5_000;

type Handler = (message: any, subject: string) => void;
type Responder = (message: any) => unknown | Promise<unknown>;

/** What goes over an IPC channel, marked so that other messages on it are left alone. */
type Frame = { bus: 1 } & (
  | { type: 'publish'; subject: string; message: unknown }
  | { type: 'subscribe' | 'unsubscribe' | 'respond' | 'unrespond'; subject: string }
  | { type: 'request'; id: number; subject: string; message: unknown; timeoutMs: number }
  | { type: 'answer'; id: number; result?: unknown; error?: { kind: 'none' | 'remote' | 'timeout'; message: string } }
);

type Answer = Extract<Frame, { type: 'answer' }>;

/** Local subscriptions, by subject. One that throws does not harm the others, nor the process. */
class Subscriptions {
  readonly #handlers = new Map<string, Set<Handler>>();

  /** Returns whether it is the first one of its pattern. */
  add(pattern: string, handler: Handler): boolean {
    const set = this.#handlers.get(pattern);
    if (set) {
      set.add(handler);
      return false;
    }
    this.#handlers.set(pattern, new Set([handler]));
    return true;
  }

  /** Returns whether it was the last one of its pattern. */
  remove(pattern: string, handler: Handler): boolean {
    const set = this.#handlers.get(pattern);
    if (!set?.delete(handler) || set.size > 0) return false;
    this.#handlers.delete(pattern);
    return true;
  }

  deliver(subject: string, message: unknown): void {
    for (const pattern of patternsOf(subject)) {
      for (const handler of this.#handlers.get(pattern) ?? []) {
        try {
          handler(message, subject);
        } catch (error) {
          log('error', 'a subscriber failed', { subject, error: reason(error) });
        }
      }
    }
  }

  patterns(): string[] {
    return [...this.#handlers.keys()];
  }

  clear(): void {
    this.#handlers.clear();
  }
}

/** "a.b.c" is matched by itself, "a.b.>", "a.>" and ">". */
function* patternsOf(subject: string): Generator<string> {
  yield subject;
  for (let dot = subject.lastIndexOf('.'); dot > 0; dot = subject.lastIndexOf('.', dot - 1)) {
    yield `${subject.slice(0, dot)}.>`;
  }
  yield '>';
}

/** Requests that wait for their answer. */
class Pending {
  #nextId = 1;
  readonly #waiting = new Map<number, { settle: (answer: Answer) => void; owner: unknown; timer: NodeJS.Timeout }>();

  /** `owner`: whoever was asked; `failOwner` ends what it has not answered. */
  wait(subject: string, timeoutMs: number, owner: unknown, ask: (id: number) => void): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      const timer = setTimeout(() => {
        this.answer({
          bus: 1,
          type: 'answer',
          id,
          error: { kind: 'timeout', message: timeoutText(subject, timeoutMs) },
        });
      }, timeoutMs);
      const settle = ({ result, error }: Answer) => {
        clearTimeout(timer);
        if (!error) resolve(result);
        else if (error.kind === 'none') reject(new NoResponder(error.message));
        else if (error.kind === 'timeout') reject(new RequestTimeout(error.message));
        else reject(new RemoteError(error.message));
      };
      this.#waiting.set(id, { settle, owner, timer });
      ask(id);
    });
  }

  answer(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    waiting?.settle(answer);
  }

  failOwner(owner: unknown, message: string): void {
    for (const [id, waiting] of this.#waiting) {
      if (waiting.owner === owner) this.answer({ bus: 1, type: 'answer', id, error: { kind: 'none', message } });
    }
  }

  failAll(message: string): void {
    for (const id of this.#waiting.keys())
      this.answer({ bus: 1, type: 'answer', id, error: { kind: 'none', message } });
  }
}

function timeoutText(subject: string, timeoutMs: number): string {
  return `no answer to ${subject} within ${timeoutMs} ms`;
}

async function respondWith(responder: Responder, message: unknown, id: number): Promise<Answer> {
  try {
    const result = await responder(message);
    // What JSON cannot carry fails here, where the asker is told, and not on the channel.
    JSON.stringify(result);
    return { bus: 1, type: 'answer', id, result };
  } catch (error) {
    return { bus: 1, type: 'answer', id, error: { kind: 'remote', message: reason(error) } };
  }
}

export interface Hub extends Bus {
  /** Joins a child process that was forked with an IPC channel. */
  attach(child: ChildProcess): void;
}

/** The hub, in the supervisor; alone it is the Bus of a single process. */
export function createHub(): Hub {
  const local = new Subscriptions();
  const pending = new Pending();
  /** Subject -> the responders, the last one answers: a child or a function of this process. */
  const responders = new Map<string, (ChildProcess | Responder)[]>();
  const children = new Map<ChildProcess, Set<string>>();
  let closed = false;

  function transmit(child: ChildProcess, frame: Frame): void {
    // A channel that closes in this moment: its 'exit' will clean up.
    if (child.connected) child.send(frame, () => undefined);
  }

  function publish(subject: string, message: unknown): void {
    if (closed) return;
    for (const [child, patterns] of children) {
      for (const pattern of patternsOf(subject)) {
        if (!patterns.has(pattern)) continue;
        transmit(child, { bus: 1, type: 'publish', subject, message });
        break;
      }
    }
    local.deliver(subject, message);
  }

  function request(subject: string, message: unknown, timeoutMs: number): Promise<unknown> {
    const responder = responders.get(subject)?.at(-1);
    if (closed || !responder) return Promise.reject(new NoResponder(`nobody responds to ${subject}`));
    return pending.wait(subject, timeoutMs, responder, (id) => {
      if (typeof responder === 'function') {
        void respondWith(responder, message, id).then((answer) => pending.answer(answer));
      } else transmit(responder, { bus: 1, type: 'request', id, subject, message, timeoutMs });
    });
  }

  function addResponder(subject: string, responder: ChildProcess | Responder): void {
    responders.set(subject, [...(responders.get(subject) ?? []), responder]);
  }

  function removeResponder(subject: string, responder: ChildProcess | Responder): void {
    const left = (responders.get(subject) ?? []).filter((other) => other !== responder);
    if (left.length > 0) responders.set(subject, left);
    else responders.delete(subject);
  }

  function onFrame(child: ChildProcess, frame: Frame): void {
    const patterns = children.get(child);
    // What a dead child had still on its channel.
    if (!patterns) return;
    if (frame.type === 'publish') publish(frame.subject, frame.message);
    else if (frame.type === 'subscribe') patterns.add(frame.subject);
    else if (frame.type === 'unsubscribe') patterns.delete(frame.subject);
    else if (frame.type === 'respond') addResponder(frame.subject, child);
    else if (frame.type === 'unrespond') removeResponder(frame.subject, child);
    else if (frame.type === 'answer') pending.answer(frame);
    else if (frame.type === 'request') void forward(child, frame);
  }

  async function forward(child: ChildProcess, frame: Extract<Frame, { type: 'request' }>): Promise<void> {
    const answer: Answer = { bus: 1, type: 'answer', id: frame.id };
    try {
      answer.result = await request(frame.subject, frame.message, frame.timeoutMs);
    } catch (error) {
      const kind = error instanceof NoResponder ? 'none' : error instanceof RequestTimeout ? 'timeout' : 'remote';
      answer.error = { kind, message: reason(error) };
    }
    transmit(child, answer);
  }

  return {
    attach(child) {
      children.set(child, new Set());
      child.on('message', (frame: unknown) => {
        if (isFrame(frame)) onFrame(child, frame);
      });
      const leave = () => {
        if (!children.delete(child)) return;
        for (const subject of [...responders.keys()]) removeResponder(subject, child);
        pending.failOwner(child, 'the process that responds ended');
      };
      child.on('exit', leave);
      child.on('disconnect', leave);
    },
    publish,
    subscribe(subject, handler) {
      local.add(subject, handler);
      return () => void local.remove(subject, handler);
    },
    request: (subject, message, options) => request(subject, message, options?.timeoutMs ?? DEFAULT_TIMEOUT_MS),
    respond(subject, handler) {
      addResponder(subject, handler);
      return () => removeResponder(subject, handler);
    },
    async close() {
      closed = true;
      local.clear();
      responders.clear();
      children.clear();
      pending.failAll('the bus is closed');
    },
  };
}

/** The Bus in a child process of the hub's. Throws if there is no IPC channel. */
export function connectBus(): Bus {
  if (!process.send) throw new Error('this process has no channel to a supervisor: it is started by `selvedge up`');
  const local = new Subscriptions();
  const pending = new Pending();
  const responders = new Map<string, Responder[]>();

  function transmit(frame: Frame): void {
    if (process.connected) process.send?.(frame, undefined, undefined, () => undefined);
    else pending.failAll('the supervisor is gone');
  }

  async function answerRequest(frame: Extract<Frame, { type: 'request' }>): Promise<void> {
    const responder = responders.get(frame.subject)?.at(-1);
    if (responder) transmit(await respondWith(responder, frame.message, frame.id));
    else {
      const error = { kind: 'none' as const, message: `nobody responds to ${frame.subject}` };
      transmit({ bus: 1, type: 'answer', id: frame.id, error });
    }
  }

  const onMessage = (frame: unknown) => {
    if (!isFrame(frame)) return;
    if (frame.type === 'publish') local.deliver(frame.subject, frame.message);
    else if (frame.type === 'answer') pending.answer(frame);
    else if (frame.type === 'request') void answerRequest(frame);
  };
  const onDisconnect = () => pending.failAll('the supervisor is gone');
  process.on('message', onMessage);
  process.on('disconnect', onDisconnect);

  return {
    publish: (subject, message) => transmit({ bus: 1, type: 'publish', subject, message }),
    subscribe(subject, handler) {
      if (local.add(subject, handler)) transmit({ bus: 1, type: 'subscribe', subject });
      return () => {
        if (local.remove(subject, handler)) transmit({ bus: 1, type: 'unsubscribe', subject });
      };
    },
    request: (subject, message, options) => {
      const timeoutMs = options?.timeoutMs ?? DEFAULT_TIMEOUT_MS;
      return pending.wait(subject, timeoutMs, 'hub', (id) =>
        transmit({ bus: 1, type: 'request', id, subject, message, timeoutMs }),
      );
    },
    respond(subject, handler) {
      const list = responders.get(subject) ?? [];
      responders.set(subject, [...list, handler]);
      if (list.length === 0) transmit({ bus: 1, type: 'respond', subject });
      return () => {
        const left = (responders.get(subject) ?? []).filter((other) => other !== handler);
        if (left.length > 0) responders.set(subject, left);
        else {
          responders.delete(subject);
          transmit({ bus: 1, type: 'unrespond', subject });
        }
      };
    },
    async close() {
      for (const subject of local.patterns()) transmit({ bus: 1, type: 'unsubscribe', subject });
      for (const subject of responders.keys()) transmit({ bus: 1, type: 'unrespond', subject });
      local.clear();
      responders.clear();
      pending.failAll('the bus is closed');
      process.off('message', onMessage);
      process.off('disconnect', onDisconnect);
    },
  };
}

function isFrame(message: unknown): message is Frame {
  return typeof message === 'object' && message !== null && (message as { bus?: unknown }).bus === 1;
}
