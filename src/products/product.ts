/** What a product is to the processes that serve its bindings: the isolate process (its configuration) and the data process (its sockets). */
import type { Server } from 'node:net';
import type { Attach } from '../model/messages.ts';

/** What a product adds to the configuration of an isolate process whose version binds it: workerd.capnp values as text. */
export interface ConfigParts {
  extensions?: string[];
  services?: string[];
  sockets?: string[];
}

/** The end of a product's bindings in the data process, for one isolate process. */
export interface Room {
  /** File name of the socket in the process's directory. */
  socket: string;
  server: Server;
  /** At once, of this process. */
  maxConnections: number;
  /** Called after the socket is closed. */
  close?(): void;
}

/** Counts what the process asks of products; false above what its open requests may make. */
export interface Taking {
  take(): boolean | Promise<boolean>;
}

export interface DataProduct {
  /** One, or one for each of what it binds; null or none if the process binds nothing of this product. */
  room(attach: Attach, budget: Taking): Room | Room[] | null;
  close(): Promise<void> | void;
}
