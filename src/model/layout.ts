/** Where things are in the data directory. Everything durable is here; nothing else is written. */
import { join } from 'node:path';

export function layout(dataDir: string) {
  const at = (...parts: string[]) => join(dataDir, ...parts);
  return {
    /** SQLite, held exclusively while the machine runs: two `selvedge up` cannot share a directory. */
    lock: at('lock.sqlite'),
    ledger: at('ledger.sqlite'),
    blobs: at('blobs'),
    kv: at('kv.sqlite'),
    /** Values of KV that are too large for documents. */
    kvBlobs: at('kv'),
    queues: at('queues.sqlite'),
    r2: at('r2.sqlite'),
    /** Bodies of R2's objects. */
    r2Blobs: at('r2'),
    r2Usage: at('r2-usage.sqlite'),
    /** Analytics Engine: a SQLite file for each account. */
    analytics: at('analytics'),
    /** Durable Objects: a directory for each Worker that has them, SQLite files in the runtime's own layout. */
    objects: at('objects'),
    /** Earlier states of D1 databases. */
    d1Snapshots: at('d1-snapshots'),
    /** SQL on its way to and from databases; emptied at each start. */
    transfers: at('transfers'),
    /** Responses of the Cache API; may be deleted while the machine is down. */
    cache: at('cache.sqlite'),
    cacheBlobs: at('cache'),
    /** 32 bytes in hex, mode 0600: seals secrets. */
    secretKey: at('secret.key'),
    tls: at('tls'),
    caCertificate: at('tls', 'ca.pem'),
    caKey: at('tls', 'ca.key'),
    hostCertificates: at('tls', 'hosts'),
    usage: at('usage.sqlite'),
    /** What was used of products (rows of D1 ...), by hour. */
    productUsage: at('product-usage.sqlite'),
    logs: at('logs'),
    /** Its time is when the machine was alive last. */
    alive: at('alive'),
    /** Compiled configs of versions, sealed; may be deleted at any time. */
    compiled: at('compiled'),
    /** Compiled modules of Selvedge itself, kept by Node; may be deleted at any time. */
    nodeCache: at('node-cache'),
    /** What a person sources to make wrangler talk to this edge, mode 0600. */
    wranglerEnv: at('wrangler.env'),
    /** JSON of the running machine: pid, addresses, run directory. */
    running: at('running.json'),
  };
}
