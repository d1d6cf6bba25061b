/** Sets the right headers on hundreds of endpoints of an application that nobody wants to touch, from one table (`rules.ts`). */
import { headersFor } from './rules.ts';

interface Env {
  APPLICATION: string;
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname, search } = new URL(request.url);
    const answer = await fetch(new URL(pathname + search, env.APPLICATION), request);
    const copy = new Response(answer.body, answer);
    for (const [name, value] of Object.entries(headersFor(pathname))) {
      if (value === null) copy.headers.delete(name);
      else copy.headers.set(name, value);
    }
    return copy;
  },
};
