// Runs beside a Worker that has handlers of events which do not come over HTTP, on a socket that only the supervisor reaches, and
// delivers those events.
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === '/scheduled') {
      const { cron, scheduledTime } = await request.json();
      const { outcome } = await env.USER.scheduled({ cron, scheduledTime: new Date(scheduledTime) });
      return Response.json({ outcome });
    }
    return new Response('not found', { status: 404 });
  },
};
