/** Tells an application how likely a visitor is a program: 1 (surely) to 99 (a person), in the header X-Bot-Score. */
interface Env {
  APPLICATION: string;
}

/** What takes points off, and how many. */
const SIGNS: [points: number, sign: (headers: Headers) => boolean][] = [
  [
    60,
    (headers) =>
      /^(curl|wget|python|go-http|java|okhttp)|bot\b|spider|crawl|scrapy/i.test(headers.get('user-agent') ?? ''),
  ],
  [50, (headers) => !headers.get('user-agent')],
  [25, (headers) => !headers.get('accept-language')],
  [15, (headers) => !headers.get('accept-encoding')],
  // Browsers of the last years say what a request is for, if the page is served by https.
  [10, (headers) => headers.get('cf-visitor')?.includes('https') === true && !headers.get('sec-fetch-mode')],
];

export function score(headers: Headers): number {
  const points = SIGNS.reduce((sum, [cost, sign]) => (sign(headers) ? sum - cost : sum), 99);
  return Math.max(1, points);
}

export default {
  fetch(request: Request, env: Env): Promise<Response> {
    const { pathname, search } = new URL(request.url);
    const passed = new Request(new URL(pathname + search, env.APPLICATION), request);
    // Replaces what a client says of itself.
    passed.headers.set('x-bot-score', String(score(request.headers)));
    return fetch(passed);
  },
};
