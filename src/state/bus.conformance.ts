/** What every driver of Bus has to do, between two members of it. Called by the driver's own test file. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { type Bus, NoResponder, RemoteError, RequestTimeout } from './bus.ts';

export interface Members {
  here: Bus;
  /** Another member, driven by name: it subscribes "there.>" and repeats what it hears as "heard" with {subject, message}. */
  close(): Promise<void>;
}

/**
 * The other member responds to "there.echo" with its message, to "there.fail" by throwing "no luck", to "there.bigint" with a bigint, to "there.never" not at all, and
 * to "there.ask" by asking "here.question" and answering with what it got.
 */
export function busConformance(name: string, open: () => Promise<Members>): void {
  describe(`${name} as a Bus`, async () => {
    const { here, close } = await open();
    after(close);

    it('carries publications to others in order', async () => {
      const heard: unknown[] = [];
      const done = Promise.withResolvers<void>();
      const stop = here.subscribe('heard', (message) => {
        heard.push(message);
        if (heard.length === 100) done.resolve();
      });
      for (let i = 0; i < 100; i++) here.publish(`there.n.${i % 3}`, { i });
      await done.promise;
      stop();
      assert.deepEqual(
        heard,
        Array.from({ length: 100 }, (_, i) => ({ subject: `there.n.${i % 3}`, message: { i } })),
      );
    });

    it('carries publications to the sender itself', async () => {
      const heard = Promise.withResolvers<unknown>();
      const stop = here.subscribe('self.>', (message) => heard.resolve(message));
      here.publish('self.x', 1);
      assert.equal(await heard.promise, 1);
      stop();
    });

    it('carries a request to its responder and the answer back', async () => {
      assert.deepEqual(await here.request('there.echo', { text: 'grüße' }), { text: 'grüße' });
    });

    it('answers requests of others', async () => {
      const stop = here.respond('here.question', (message: number) => message + 1);
      assert.equal(await here.request('there.ask', 41), 42);
      stop();
    });

    it('stops when it was unsubscribed or unregistered', async () => {
      const heard: unknown[] = [];
      here.subscribe('heard', (message) => heard.push(message))();
      here.respond('here.question', () => 'never')();
      here.publish('there.quiet', 1);
      await assert.rejects(here.request('there.ask', 1), RemoteError);
      assert.deepEqual(heard, []);
    });

    it('goes on when a subscriber throws', async () => {
      const heard = Promise.withResolvers<unknown>();
      const stops = [
        here.subscribe('heard', () => {
          throw new Error('a subscriber with a fault (this test wants it)');
        }),
        here.subscribe('heard', (message) => heard.resolve(message)),
      ];
      here.publish('there.x', 1);
      assert.deepEqual(await heard.promise, { subject: 'there.x', message: 1 });
      for (const stop of stops) stop();
    });

    it('refuses an answer that JSON cannot carry', async () => {
      await assert.rejects(here.request('there.bigint', 1), RemoteError);
    });

    it('tells why there is no answer', async () => {
      await assert.rejects(here.request('nobody.home', 1), NoResponder);
      await assert.rejects(
        here.request('there.fail', 1),
        (error) => error instanceof RemoteError && /no luck/.test(error.message),
      );
      await assert.rejects(here.request('there.never', 1, { timeoutMs: 50 }), RequestTimeout);
    });
  });
}

/** Makes `bus` the other member. */
export function beTheOther(bus: Bus): void {
  bus.subscribe('there.>', (message, subject) => bus.publish('heard', { subject, message }));
  bus.respond('there.echo', (message) => message);
  bus.respond('there.pid', () => process.pid);
  bus.respond('there.say', ({ subject, message }) => bus.publish(subject, message));
  bus.respond('there.fail', () => {
    throw new Error('no luck');
  });
  bus.respond('there.bigint', () => 1n);
  bus.respond('there.never', () => new Promise(() => undefined));
  bus.respond('there.ask', (message) => bus.request('here.question', message));
}
