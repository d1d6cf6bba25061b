/**
 * Which isolate process is who. For each process the supervisor has a directory that only this process sees; the sockets opened
 * there are its whole world, and the path that a connection comes in by is the identity of the caller: nothing that it sends is.
 */
import type { Server } from 'node:net';
import { basename, join } from 'node:path';
import type { Attach } from '../model/messages.ts';
import type { Room } from '../products/product.ts';
import type { Budget } from './budget.ts';
import { type OpenSocket, openSocket } from './sockets.ts';

/** Connections at once of one isolate process, by kind of socket. A Worker's WebSockets out are connections too. */
const MAX_CONNECTIONS = { egress: 2048, cache: 256, tail: 64, assets: 512, service: 1024 } as const;

/** What stands behind the sockets of one isolate process. */
export interface Rooms {
  budget: Budget;
  egress: Server;
  cache: Server;
  tail: Server;
  assets: Server | null;
  /** Of the products that it binds. */
  products: Room[];
  services: { socket: string; server: Server }[];
  /** Called after the sockets are closed. */
  close(): void;
}

interface Attachment {
  rooms: Rooms;
  sockets: OpenSocket[];
}

export class Attachments {
  readonly #furnish: (attach: Attach) => Rooms;
  readonly #attachments = new Map<string, Promise<Attachment>>();
  readonly #budgets = new Map<string, Budget>();

  constructor(furnish: (attach: Attach) => Rooms) {
    this.#furnish = furnish;
  }

  /** Opens the sockets; they take connections when it resolves. Attaching the same isolate again opens them anew. */
  async attach(attach: Attach): Promise<void> {
    await this.detach(attach.isolate);
    const opening = this.#open(attach);
    this.#attachments.set(attach.isolate, opening);
    try {
      await opening;
    } catch (error) {
      if (this.#attachments.get(attach.isolate) === opening) this.#attachments.delete(attach.isolate);
      throw error;
    }
  }

  /** Closes the sockets and every connection on them. Nothing happens if the isolate is not attached. */
  async detach(isolate: string): Promise<void> {
    const opening = this.#attachments.get(isolate);
    if (!opening) return;
    this.#attachments.delete(isolate);
    this.#budgets.delete(isolate);
    const { rooms, sockets } = await opening;
    await Promise.all(sockets.map((socket) => socket.close()));
    closeRooms(rooms);
  }

  budget(isolate: string): Budget | undefined {
    return this.#budgets.get(isolate);
  }

  /** Of all attached isolates. */
  budgets(): Iterable<Budget> {
    return this.#budgets.values();
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.#attachments.keys()].map((isolate) => this.detach(isolate)));
  }

  async #open(attach: Attach): Promise<Attachment> {
    const rooms = this.#furnish(attach);
    const wanted: [Server, string, number][] = [
      [rooms.egress, 'egress.sock', MAX_CONNECTIONS.egress],
      [rooms.cache, 'cache.sock', MAX_CONNECTIONS.cache],
      [rooms.tail, 'tail.sock', MAX_CONNECTIONS.tail],
    ];
    if (rooms.assets) wanted.push([rooms.assets, 'assets.sock', MAX_CONNECTIONS.assets]);
    for (const { server, socket, maxConnections } of rooms.products) wanted.push([server, socket, maxConnections]);
    for (const { socket, server } of rooms.services) {
      if (basename(socket) !== socket) throw new Error(`"${socket}" is no file name`);
      wanted.push([server, socket, MAX_CONNECTIONS.service]);
    }
    const opened = await Promise.allSettled(
      wanted.map(([server, file, most]) => openSocket(server, join(attach.dir, file), most)),
    );
    const sockets = opened.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    const failure = opened.find((result) => result.status === 'rejected');
    if (failure) {
      await Promise.all(sockets.map((socket) => socket.close()));
      closeRooms(rooms);
      throw failure.reason;
    }
    this.#budgets.set(attach.isolate, rooms.budget);
    return { rooms, sockets };
  }
}

function closeRooms(rooms: Rooms): void {
  for (const room of rooms.products) room.close?.();
  rooms.close();
}
