/** What is for the operator and not for tenants: metrics of all accounts, and health for load balancers. */
import { timingSafeEqual } from 'node:crypto';
import { getConnInfo } from '@hono/node-server/conninfo';
import { Counter, Registry } from 'prom-client';
import { reason } from '../model/log.ts';
import type { PopStatus, Requests } from '../model/messages.ts';
import type { ApiContext, App } from './app.ts';
import type { CoreContext } from './context.ts';

/** A scraper waits longer than that for nothing. */
const TIMEOUT_MS = 5_000;

/**
 * May this request see all accounts? With a metrics token, who has it. Without one, who asks from this machine itself: no proxy before it, and
 * by an address or "localhost", so that no web page in a browser here can (DNS rebinding).
 */
export function isOperator(c: ApiContext, metricsToken: string | undefined): boolean {
  const header = (name: string) => c.req.header(name);
  if (metricsToken !== undefined) {
    const given = Buffer.from(header('authorization')?.replace(/^Bearer /i, '') ?? '');
    const wanted = Buffer.from(metricsToken);
    return given.length === wanted.length && timingSafeEqual(given, wanted);
  }
  if (header('forwarded') ?? header('x-forwarded-for') ?? header('via')) return false;
  if (!/^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/i.test(header('host') ?? '')) return false;
  return /^(::ffff:)?127\.|^::1$/.test(getConnInfo(c).remote.address ?? '');
}

/** Adds /metrics, /live and /ready, which are not below the API's prefix and have no envelope. */
export function registerOperator(app: App, { bus, settings }: CoreContext): void {
  const registry = new Registry();
  const requests = new Counter({
    name: 'selvedge_api_requests_total',
    help: 'Requests of the control API.',
    labelNames: ['method', 'status'],
    registers: [registry],
  });
  app.use('*', async (c, next) => {
    await next();
    requests.inc({ method: c.req.method, status: c.res.status });
  });

  app.get('/metrics', async (c) => {
    if (!isOperator(c, settings.metricsToken)) {
      const how = settings.metricsToken
        ? 'send its token as a bearer token'
        : 'ask from this machine, or set metrics.token';
      return c.text(`Metrics are for the operator: ${how}.\n`, settings.metricsToken ? 401 : 403);
    }
    try {
      const pop: Requests['pop.metrics'][1] = await bus.request('pop.metrics', {}, { timeoutMs: TIMEOUT_MS });
      return c.body(`${pop.text}${await registry.metrics()}`, 200, { 'content-type': registry.contentType });
    } catch (error) {
      return c.text(`The supervisor does not answer: ${reason(error)}\n`, 503);
    }
  });

  app.get('/live', (c) => c.text('live\n'));

  app.get('/ready', async (c) => {
    try {
      const status: PopStatus = await bus.request('pop.status', {}, { timeoutMs: TIMEOUT_MS });
      const waiting = status.processes.filter(({ ready }) => !ready).map(({ name }) => name);
      if (status.draining) return c.text('stopping\n', 503);
      if (waiting.length > 0) return c.text(`waiting for ${waiting.join(', ')}\n`, 503);
      return c.text('ready\n');
    } catch (error) {
      return c.text(`the supervisor does not answer: ${reason(error)}\n`, 503);
    }
  });
}
