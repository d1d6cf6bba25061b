/** Cloudflare's products that are not here yet: their paths say so by name, instead of "could not route". */
import { ABSENT_PATHS } from '../../products/index.ts';
import { API_PREFIX, type App } from '../app.ts';
import { ApiError } from '../errors.ts';

/** To be registered last: what is served has its own routes. */
export function registerAbsent(app: App): void {
  for (const [path, product] of Object.entries(ABSENT_PATHS)) {
    app.all(`${API_PREFIX}/accounts/:account_id/${path}/*`, () => {
      throw new ApiError(10058, `This Selvedge has no ${product} yet.`);
    });
  }
}
