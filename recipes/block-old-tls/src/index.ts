/** Refuses visitors whose TLS is older than 1.2; everybody else gets the page. */
const OLD = new Set(['SSLv3', 'TLSv1', 'TLSv1.1']);

export default {
  async fetch(request: Request): Promise<Response> {
    const { tlsVersion } = (request as Request & { cf?: { tlsVersion?: string } }).cf ?? {};
    if (tlsVersion && OLD.has(tlsVersion)) {
      return new Response(`This site needs TLS 1.2 or newer; your browser used ${tlsVersion}.\n`, { status: 403 });
    }
    return new Response(`Welcome, over ${tlsVersion || 'plain HTTP'}.\n`);
  },
};
