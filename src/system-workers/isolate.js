// Runs beside the user's Worker in its process, on a socket that only the supervisor reaches: answers the watchdog's ping and
// delivers events that do not come over HTTP.
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === '/ping') return new Response('pong');
    if (pathname === '/scheduled') {
      const { cron, scheduledTime } = await request.json();
      const { outcome } = await env.USER.scheduled({ cron, scheduledTime: new Date(scheduledTime) });
      return Response.json({ outcome });
    }
    return new Response('not found', { status: 404 });
  },
};
