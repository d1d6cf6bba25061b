/** Sends a share of the visitors to a new release of an application, by a throw of dice that a cookie remembers. */
interface Env {
  STABLE: string;
  CANARY: string;
  PERCENT: string;
}

const COOKIE = 'canary';

function thrown(request: Request): 'yes' | 'no' | undefined {
  const value = new RegExp(`(?:^|;\\s*)${COOKIE}=(yes|no)`).exec(request.headers.get('cookie') ?? '')?.[1];
  return value as 'yes' | 'no' | undefined;
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const before = thrown(request);
    const side = before ?? (Math.random() * 100 < Number(env.PERCENT) ? 'yes' : 'no');
    const { pathname, search } = new URL(request.url);
    const answer = await fetch(new URL(pathname + search, side === 'yes' ? env.CANARY : env.STABLE), request);
    // A canary that fails is no place to stay.
    const next = side === 'yes' && answer.status >= 500 ? 'no' : side;
    if (next === before) return answer;
    const copy = new Response(answer.body, answer);
    copy.headers.append('set-cookie', `${COOKIE}=${next}; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax`);
    return copy;
  },
};
