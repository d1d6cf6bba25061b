/** `selvedge r2 usage`: what the buckets of an account used and hold. */
import { callApi } from './api.ts';
import { print, table } from './table.ts';

interface Usage {
  rows: {
    bucket: string;
    day: string;
    class_a_operations: number;
    class_b_operations: number;
    ingress_bytes: number;
    egress_bytes: number;
    egress_price: number;
  }[];
  buckets: { bucket: string; objects: number; stored_bytes: number }[];
}

interface Options {
  data: string;
  account?: string;
  from?: string;
  to?: string;
  json?: boolean;
}

export async function showUsage({ from, to, json, ...where }: Options): Promise<void> {
  const query = new URLSearchParams({ ...(from && { from }), ...(to && { to }) });
  const usage = await callApi<Usage>({ ...where, path: `/selvedge/r2/usage?${query}` });
  if (json) return print(JSON.stringify(usage, null, 2));
  const holds = usage.buckets.map(({ bucket, objects, stored_bytes }) => [
    bucket,
    String(objects),
    String(stored_bytes),
  ]);
  print(table(['BUCKET', 'OBJECTS', 'BYTES STORED'], holds));
  const rows = usage.rows.map((row) => [
    row.day,
    row.bucket,
    String(row.class_a_operations),
    String(row.class_b_operations),
    String(row.ingress_bytes),
    String(row.egress_bytes),
    String(row.egress_price),
  ]);
  print('');
  print(table(['DAY', 'BUCKET', 'WRITES', 'READS', 'BYTES IN', 'BYTES OUT', 'PRICE OF BYTES OUT'], rows));
}
