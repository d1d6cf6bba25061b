/**
 * Bus: messages between the processes of a PoP and, with the cluster driver, between machines. Subjects are dotted words;
 * a subscription may end in ".>" (everything below). Those that begin with "local." never leave the machine.
 * Delivery is at most once, in order per sender. Drivers: `local-bus.ts` (embedded: in process, and over the IPC channel of
 * child processes with the supervisor as hub); all pass `bus.conformance.ts`. The messages are typed in `model/messages.ts`.
 */
export class NoResponder extends Error {
  override name = 'NoResponder';
}
export class RequestTimeout extends Error {
  override name = 'RequestTimeout';
}
/** The responder's handler threw; `message` is its message. */
export class RemoteError extends Error {
  override name = 'RemoteError';
}

export interface Bus {
  publish(subject: string, message: unknown): void;
  /** Returns unsubscribe. */
  subscribe(subject: string, handler: (message: any, subject: string) => void): () => void;
  /** Asks the one responder of the subject. Throws NoResponder, RequestTimeout (default 5,000 ms), RemoteError. */
  request(subject: string, message: unknown, options?: { timeoutMs?: number }): Promise<any>;
  /** Becomes the responder of a subject (the last one registered answers). Returns unregister. */
  respond(subject: string, handler: (message: any) => unknown | Promise<unknown>): () => void;
  close(): Promise<void>;
}
