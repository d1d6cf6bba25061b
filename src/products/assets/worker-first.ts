/**
 * Who answers first, the assets or the Worker, for a version that has both.
 * Source: https://developers.cloudflare.com/workers/static-assets/routing/worker-script/ and
 * https://developers.cloudflare.com/workers/static-assets/routing/advanced/serving-a-subdirectory/
 */
import type { AssetConfig } from '../../model/documents.ts';
import { urlPathname } from './paths.ts';
import { matchGlob } from './rules.ts';

export const MAX_WORKER_FIRST_RULES = 100;
export const MAX_WORKER_FIRST_RULE_LENGTH = 100;

/**
 * True if the Worker gets the request and the assets are not asked. `run_worker_first`: true for all paths, or a list of patterns
 * ("*" is anything); "!/..." patterns are exceptions and win. `pathname` is as in the URL, encoded.
 */
export function workerFirst(config: AssetConfig, pathname: string): boolean {
  const rules = config.run_worker_first;
  if (typeof rules === 'boolean') return rules;
  const path = urlPathname(pathname);
  return !isException(rules, path) && rules.some((rule) => rule.startsWith('/') && matchGlob(rule, path));
}

/** True if a "!/..." pattern gives the path to the assets alone: where they have nothing, the Worker is not asked either. */
export function assetsOnly(config: AssetConfig, pathname: string): boolean {
  return Array.isArray(config.run_worker_first) && isException(config.run_worker_first, urlPathname(pathname));
}

function isException(rules: readonly string[], path: string): boolean {
  return rules.some((rule) => rule.startsWith('!/') && matchGlob(rule, path, 1));
}

/**
 * Does `not_found_handling` answer before the Worker is asked? With a Worker present it does so only
 * - if `run_worker_first` is a list: what the list does not name belongs to the assets; or
 * - if a browser navigates (`Sec-Fetch-Mode: navigate`) and the compatibility flag `assets_navigation_prefers_asset_serving` is on
 *   (by default from compatibility date 2025-04-01): `config.navigation_prefers_assets`, absent means on.
 * Otherwise unmatched requests go to the Worker, so that e.g. /api/... of a single-page application reaches it.
 */
export function notFoundBeforeWorker(config: AssetConfig, secFetchMode: string | undefined): boolean {
  if (Array.isArray(config.run_worker_first)) return true;
  return config.navigation_prefers_assets !== false && secFetchMode === 'navigate';
}

/** The value of `navigation_prefers_assets` for a version's compatibility date and flags. */
export function navigationPrefersAssets(compatibilityDate: string, flags: readonly string[]): boolean {
  if (flags.includes('assets_navigation_prefers_asset_serving')) return true;
  if (flags.includes('assets_navigation_has_no_effect')) return false;
  return compatibilityDate >= '2025-04-01';
}

/** Throws an Error that names the first wrong pattern of a `run_worker_first` list. */
export function checkWorkerFirst(rules: readonly string[]): void {
  const wrong = (why: string) => new Error(`assets.run_worker_first: ${why}`);
  if (rules.length > MAX_WORKER_FIRST_RULES) throw wrong(`at most ${MAX_WORKER_FIRST_RULES} patterns are allowed`);
  for (const [index, rule] of rules.entries()) {
    const shown = JSON.stringify(rule.slice(0, MAX_WORKER_FIRST_RULE_LENGTH));
    if (!/^!?\//.test(rule)) throw wrong(`${shown} must begin with "/" or "!/"`);
    if (rule.length > MAX_WORKER_FIRST_RULE_LENGTH) {
      throw wrong(`${shown}... is longer than ${MAX_WORKER_FIRST_RULE_LENGTH} characters`);
    }
    if (rules.indexOf(rule) !== index) throw wrong(`${shown} stands twice`);
  }
  if (!rules.some((rule) => rule.startsWith('/'))) throw wrong('at least one pattern must not begin with "!"');
}
