/** `selvedge usage`: what Workers used per account and day, and what it costs by the price sheet. */
import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { readPrices } from '../config/prices.ts';
import { listAccounts } from '../core/accounts.ts';
import { layout } from '../model/layout.ts';
import { type Bill, bill, type PriceSheet } from '../model/prices.ts';
import { daysOfMonth, sumUsage, USAGE_FIELDS, type UsageCounts, type UsageRow } from '../model/usage.ts';
import { openUsage } from '../state/usage.ts';
import { callApi } from './api.ts';
import { dataOption, existingDataDir, withLedger } from './data-dir.ts';
import { day, month } from './options.ts';
import { print, table } from './table.ts';

interface Options {
  account?: string;
  from?: string;
  to?: string;
  month?: string;
  bill?: boolean;
  json?: boolean;
  csv?: boolean;
  prices?: string;
  data: string;
}

export function usageCommand(): Command {
  return new Command('usage')
    .description('requests, CPU time, subrequests, bytes and duration per Worker and day; bills')
    .option('--account <id>', 'only of this account')
    .option('--from <day>', 'first day, YYYY-MM-DD (UTC)', day)
    .option('--to <day>', 'last day, YYYY-MM-DD (UTC)', day)
    .addOption(new Option('--month <month>', 'YYYY-MM (UTC)').argParser(month).conflicts(['from', 'to']))
    .addOption(new Option('--bill', 'bills of a month, this one by default').conflicts(['from', 'to']))
    .option('--prices <file>', 'price sheet to use (default: that of the running machine)')
    .option('--json', 'as JSON')
    .addOption(new Option('--csv', 'as CSV').conflicts('json'))
    .addOption(dataOption())
    .addHelpText(
      'after',
      `
Examples:
  selvedge usage --from 2026-11-01
  selvedge usage --month 2026-11 --csv > usage.csv
  selvedge usage --bill --month 2026-11
  selvedge usage --bill --prices next-year.json     what this month would cost`,
    )
    .action(async (options: Options) => print(await (options.bill ? billsText(options) : usageText(options))));
}

function readUsage({ data, account, from, to, month }: Options): UsageRow[] {
  const usage = openUsage(layout(existingDataDir(data)).usage);
  const span = month ? daysOfMonth(month) : { ...(from && { from }), ...(to && { to }) };
  const rows = usage.read({ ...(account && { accountId: account }), ...span });
  usage.close();
  return rows;
}

function usageText(options: Options): string {
  const rows = readUsage(options);
  const totals = sumUsage(rows);
  if (options.json) return JSON.stringify({ rows, totals }, null, 2);
  if (options.csv) {
    // Nothing needs quotes: names of Workers, hex digits, days and numbers.
    const head = 'day,account,script,requests,errors,cpu_ms,subrequests,egress_bytes,ingress_bytes,duration_ms';
    return [head, ...rows.map((row) => [row.day, row.accountId, row.script, ...numbers(row)].join(','))].join('\n');
  }
  const shown = (counts: UsageCounts) => numbers({ ...counts, cpuMs: Math.round(counts.cpuMs) });
  return table(
    ['DAY', 'ACCOUNT', 'WORKER', 'REQUESTS', 'ERRORS', 'CPU MS', 'SUBREQUESTS', 'BYTES OUT', 'BYTES IN', 'DURATION MS'],
    [...rows.map((row) => [row.day, row.accountId, row.script, ...shown(row)]), ['total', '', '', ...shown(totals)]],
  );
}

function numbers(counts: UsageCounts): string[] {
  return USAGE_FIELDS.map((field) => String(counts[field]));
}

async function billsText(options: Options): Promise<string> {
  const period = options.month ?? new Date().toISOString().slice(0, 7);
  const prices = options.prices
    ? readPrices(readFileSync(options.prices, 'utf8'))
    : await callApi<PriceSheet>({ data: options.data, path: '/selvedge/prices' });
  const rows = readUsage({ ...options, month: period });
  const accounts = await withLedger(options.data, listAccounts);
  // An account that used nothing still has its base price.
  const ids = new Set([...accounts.map(({ id }) => id), ...rows.map(({ accountId }) => accountId)]);
  const bills = [...ids]
    .filter((id) => !options.account || id === options.account)
    .map((id) => bill(id, period, sumUsage(rows.filter(({ accountId }) => accountId === id)), prices));
  if (options.json) return JSON.stringify(bills, null, 2);
  if (options.csv) {
    const head = 'month,account,item,used,included,billed,price,per,amount,currency';
    const lines = bills.flatMap(({ month, account_id, lines, currency }) =>
      lines.map((l) =>
        [month, account_id, l.item, l.used, l.included, l.billed, l.price, l.per, l.amount, currency].join(','),
      ),
    );
    return [head, ...lines].join('\n');
  }
  return bills.map(billText).join('\n\n');
}

function billText({ account_id, month, currency, lines, total, due }: Bill): string {
  const soFar = daysOfMonth(month).to >= new Date().toISOString().slice(0, 10) ? ', so far' : '';
  const rows = lines.map((l) => [l.item, l.used, l.included, l.billed, `${l.price} per ${l.per}`, l.amount]);
  return `Account ${account_id}, ${month}${soFar}: ${due} ${currency}
${table(['ITEM', 'USED', 'INCLUDED', 'BILLED', 'PRICE', currency], [...rows, ['total', '', '', '', '', total]])}`;
}
