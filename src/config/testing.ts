/** Settings for tests: the defaults of the configuration, nothing logged, and what a test says. */
import type { Settings } from '../model/settings.ts';
import { loadConfig } from './load.ts';
import { toSettings } from './settings.ts';

export function testSettings(directory: string, over: Partial<Settings> = {}): Settings {
  const config = loadConfig(undefined);
  config.data = directory;
  config.logs.requests = false;
  const opened = {
    runDir: directory,
    listen: '127.0.0.1',
    httpPort: 0,
    httpsPort: 0,
    listeners: [],
    apiListen: '127.0.0.1',
    apiPort: 0,
    s3Listen: '127.0.0.1',
    s3Port: 0,
    secret: 'secret',
  };
  return { ...toSettings(config, opened), ...over };
}
