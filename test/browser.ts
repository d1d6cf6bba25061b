/** A real browser for tests: Debian's Chromium, driven by playwright-core. */
import { existsSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { chromium, type Page } from 'playwright-core';

const CHROMIUM = '/usr/bin/chromium';
const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const TIMEOUT_MS = 20_000;

/** Opens a page and hands it over; without Chromium the test is skipped and says so. Errors of the page's scripts fail it. */
export async function browse(t: TestContext, url: string, visit: (page: Page) => Promise<void>): Promise<void> {
  if (!existsSync(CHROMIUM)) return t.skip('there is no Chromium on this machine (apt-get install chromium)');
  const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: ARGUMENTS });
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(TIMEOUT_MS);
    const errors: string[] = [];
    page.on('pageerror', (error) => errors.push(error.message));
    await page.goto(url);
    await visit(page);
    if (errors.length > 0) throw new Error(`the page failed: ${errors.join('; ')}`);
  } finally {
    await browser.close();
  }
}
