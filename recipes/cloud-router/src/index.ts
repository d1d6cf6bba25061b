/** Chooses between clouds by a price table, request by request; the next one takes over when one is down. */
interface Cloud {
  name: string;
  origin: string;
  price: Record<string, number>;
}
interface Env {
  CLOUDS: Cloud[] | string;
}

/** The cheapest first, for visitors of a continent. */
export function byPrice(clouds: Cloud[], continent: string): Cloud[] {
  const price = (cloud: Cloud) => cloud.price[continent] ?? cloud.price['*'] ?? Number.POSITIVE_INFINITY;
  return [...clouds].sort((a, b) => price(a) - price(b));
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const clouds: Cloud[] = typeof env.CLOUDS === 'string' ? JSON.parse(env.CLOUDS) : env.CLOUDS;
    const { continent = '*' } = (request as Request & { cf?: { continent?: string } }).cf ?? {};
    const { pathname, search } = new URL(request.url);
    // A body can be sent twice only if it is kept; what changes something is not repeated.
    const repeatable = request.method === 'GET' || request.method === 'HEAD';
    let answer = new Response('No cloud answers.', { status: 503 });
    for (const { name, origin } of byPrice(clouds, continent)) {
      answer = await fetch(new URL(pathname + search, origin), request);
      if (answer.status < 500 || !repeatable) {
        answer = new Response(answer.body, answer);
        answer.headers.set('x-cloud', name);
        break;
      }
    }
    return answer;
  },
};
