/**
 * Moves an application to another place path by path: visitors see one site, while each path is answered by where it lives now. What the
 * old server says of itself (its own host name in links, redirects and cookies) is mended on the way.
 */
interface Env {
  LEGACY: string;
  CLOUD: string;
  MOVED: string[] | string;
}

export function hasMoved(path: string, moved: string[]): boolean {
  return moved.some((prefix) => path === prefix || path.startsWith(`${prefix}/`));
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const url = new URL(request.url);
    const moved: string[] = typeof env.MOVED === 'string' ? JSON.parse(env.MOVED) : env.MOVED;
    if (hasMoved(url.pathname, moved)) {
      return fetch(new URL(url.pathname + url.search, env.CLOUD), request);
    }
    const old = await fetch(new Request(new URL(url.pathname + url.search, env.LEGACY), request), {
      redirect: 'manual',
    });
    const answer = new Response(old.body, old);
    const here = (text: string) => text.replaceAll(env.LEGACY, url.origin);
    const location = old.headers.get('location');
    if (location) answer.headers.set('location', here(location));
    const cookies = old.headers.getSetCookie();
    answer.headers.delete('set-cookie');
    // Without a domain a cookie belongs to the host that the visitor sees.
    for (const cookie of cookies) answer.headers.append('set-cookie', cookie.replace(/;\s*domain=[^;]*/i, ''));
    if (!old.headers.get('content-type')?.startsWith('text/html')) return answer;
    const { HTMLRewriter } = globalThis as unknown as { HTMLRewriter: new () => any };
    const mend = (attribute: string) => ({
      element(element: { getAttribute(name: string): string | null; setAttribute(name: string, value: string): void }) {
        const value = element.getAttribute(attribute);
        if (value?.startsWith(env.LEGACY)) element.setAttribute(attribute, here(value));
      },
    });
    return new HTMLRewriter()
      .on('[href]', mend('href'))
      .on('[src]', mend('src'))
      .on('form[action]', mend('action'))
      .transform(answer);
  },
};
