/** Results in the formats of ClickHouse (https://developers.cloudflare.com/analytics/analytics-engine/sql-reference/statements/#format-clause). */
import { ANALYTICS } from './limits.ts';
import type { Format } from './sql.ts';
import { QueryError } from './tokens.ts';

/** `type`: null if only the values tell. */
export interface Column {
  name: string;
  type: string | null;
}

const DATE_TIME = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/;

export class Result {
  readonly #columns: Column[];
  readonly #rows: unknown[][] = [];
  #size = 0;

  constructor(columns: Column[]) {
    this.#columns = columns;
  }

  /** Values as SQLite gives them: whole numbers as bigint. Throws QueryError above what a result may have. */
  add(row: unknown[]): void {
    this.#size += row.reduce<number>((sum, value) => sum + (typeof value === 'string' ? value.length : 8), 0);
    if (this.#rows.length >= ANALYTICS.resultRows || this.#size > ANALYTICS.resultBytes) {
      throw new QueryError(
        `The result has more than ${ANALYTICS.resultRows} rows or ${ANALYTICS.resultBytes} bytes: add a LIMIT, or group it.`,
      );
    }
    this.#rows.push(row);
  }

  text(format: Format): string {
    const meta = this.#columns.map(({ name, type }, i) => ({ name, type: type ?? this.#typeOf(i) }));
    const shown = this.#rows.map((row) => row.map((value, i) => shownValue(value, meta[i]!.type)));
    if (format === 'TabSeparated') return shown.map((row) => `${row.map(tabValue).join('\t')}\n`).join('');
    const data = shown.map((row) => Object.fromEntries(row.map((value, i) => [meta[i]!.name, value])));
    if (format === 'JSONEachRow') return data.map((row) => `${JSON.stringify(row)}\n`).join('');
    return JSON.stringify({ meta, data, rows: data.length, rows_before_limit_at_least: data.length });
  }

  /** SQLite's values have types, its expressions none. */
  #typeOf(column: number): string {
    const values = this.#rows.map((row) => row[column]).filter((value) => value !== null);
    if (values.length === 0) return 'String';
    if (values.every((value) => typeof value === 'bigint'))
      return values.some((value) => value < 0n) ? 'Int64' : 'UInt64';
    if (values.every((value) => typeof value === 'bigint' || typeof value === 'number')) return 'Float64';
    return values.every((value) => typeof value === 'string' && DATE_TIME.test(value)) ? 'DateTime' : 'String';
  }
}

/** As ClickHouse writes JSON: whole numbers of 64 bits are strings. */
function shownValue(value: unknown, type: string): unknown {
  if (typeof value === 'bigint') return type.endsWith('64') && type !== 'Float64' ? String(value) : Number(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString();
  return value;
}

const ESCAPED: Record<string, string> = { '\t': '\\t', '\n': '\\n', '\r': '\\r', '\\': '\\\\' };

function tabValue(value: unknown): string {
  return value === null ? '\\N' : String(value).replace(/[\t\n\r\\]/g, (character) => ESCAPED[character]!);
}
