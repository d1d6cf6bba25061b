/** A page that measures when it becomes interactive, and reports it; `/summary` has the medians of what browsers reported to this process. */
import page from './page.html';

const NAMES = ['firstByte', 'firstPaint', 'loaded', 'interactive'] as const;
type Report = Record<(typeof NAMES)[number], number>;

const MAX_REPORTS = 1_000;
const MAX_MS = 600_000;
const reports: Report[] = [];

/** Null for what is no report: anybody can send one. */
export function readReport(text: string): Report | null {
  try {
    const value = JSON.parse(text) as Record<string, unknown>;
    const sane = NAMES.every((name) => typeof value[name] === 'number' && value[name] >= 0 && value[name] <= MAX_MS);
    return sane ? (Object.fromEntries(NAMES.map((name) => [name, value[name]])) as Report) : null;
  } catch {
    return null;
  }
}

function median(values: number[]): number {
  const sorted = values.sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? 0;
}

export default {
  async fetch(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname === '/report' && request.method === 'POST') {
      const report = readReport(await request.text());
      if (!report) return new Response('This is no report.\n', { status: 400 });
      reports.push(report);
      if (reports.length > MAX_REPORTS) reports.shift();
      return new Response(null, { status: 204 });
    }
    if (pathname === '/summary') {
      const medians = NAMES.map((name) => [name, median(reports.map((report) => report[name]))]);
      return Response.json({ reports: reports.length, ...Object.fromEntries(medians) });
    }
    return new Response(page, { headers: { 'content-type': 'text/html; charset=utf-8' } });
  },
};
