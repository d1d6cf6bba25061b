// Tail Worker inside the process of a traced Worker: sends what it hears to the data process, which knows who this is.
const MAX_BYTES = 1024 * 1024;

export default {
  async tail(events, env) {
    const items = events.map((event) => ({
      outcome: event.outcome,
      entrypoint: event.entrypoint ?? undefined,
      exceptions: event.exceptions,
      logs: event.logs,
      eventTimestamp: event.eventTimestamp,
      event: describe(event.event),
      truncated: event.truncated ?? false,
      executionModel: event.executionModel ?? 'stateless',
    }));
    let body = JSON.stringify(items);
    if (body.length > MAX_BYTES) body = JSON.stringify(items.map((item) => ({ ...item, logs: [], truncated: true })));
    await env.SINK.fetch('http://sink/', { method: 'POST', body });
  },
};

// Getters of the trace's objects are copied by hand: they are not enumerable.
function describe(event) {
  if (!event) return null;
  if (event.request) {
    const { url, method, headers, cf } = event.request;
    return {
      request: { url, method, headers, cf },
      response: event.response ? { status: event.response.status } : undefined,
    };
  }
  if (event.cron !== undefined) return { cron: event.cron, scheduledTime: Number(event.scheduledTime) };
  if (event.rpcMethod !== undefined) return { rpcMethod: event.rpcMethod };
  return { ...event };
}
