/**
 * The closed set of the control API's errors: each code once, with its HTTP status and what it means. Codes are Cloudflare's
 * where Cloudflare has one (wrangler branches on some of them); the messages are said where the error is thrown.
 * A code that is not here cannot be thrown: `ApiError` takes only these.
 */
export const ERRORS = {
  // Tokens and accounts
  1000: { status: 401, meaning: 'The API token is unknown, revoked or expired (only on /user/tokens/verify).' },
  6003: { status: 400, meaning: 'The Authorization header is malformed; error_chain has 6111.' },
  6111: {
    status: 400,
    meaning: 'Format of the Authorization header: "Bearer <token>" is expected. Only in the chain of 6003.',
  },
  9106: { status: 400, meaning: 'There is no Authorization header.' },
  9109: {
    status: 403,
    meaning: 'The account in the path is not the account of the token (or does not exist: same answer).',
  },
  10000: { status: 403, meaning: 'The API token is unknown, revoked or expired.' },

  // Requests
  7003: { status: 404, meaning: 'No such path in this API, or no such zone on this account.' },
  10001: { status: 400, meaning: 'The body or a parameter is not valid; the message says which field and why.' },
  10002: { status: 500, meaning: 'Something broke inside Selvedge; the log has the reason.' },
  10003: { status: 413, meaning: 'The body is larger than this endpoint accepts.' },
  10004: { status: 503, meaning: 'The machine that should answer does not (starting, or overloaded): try again.' },
  10005: { status: 409, meaning: 'Other writers kept changing the same document: try again.' },

  // Accounts, subdomains and zones
  1061: { status: 400, meaning: 'The zone exists already, or overlaps with a zone that somebody else holds.' },
  1003: { status: 400, meaning: 'Not a domain name that can be a zone here.' },
  10032: { status: 409, meaning: 'The subdomain belongs to another account.' },
  10033: { status: 400, meaning: 'Not a DNS label that can be a subdomain.' },

  // Scripts and uploads
  10006: { status: 400, meaning: 'The upload cannot be read: not multipart, parts missing, metadata not valid.' },
  10007: { status: 404, meaning: 'The Worker does not exist on this account.' },
  10016: { status: 400, meaning: 'Not a valid name for a Worker.' },
  10021: {
    status: 400,
    meaning: 'The script does not compile, throws at start, or is configured in a way that the runtime refuses.',
  },
  10027: { status: 413, meaning: 'The script is too large after compression.' },
  10037: { status: 403, meaning: 'The account has the most Workers that it may have.' },
  10039: { status: 400, meaning: 'limits in the metadata are above what this Selvedge allows.' },
  10052: { status: 400, meaning: 'The binding is of a product that this Selvedge does not have, or of no known type.' },
  10053: { status: 400, meaning: 'A binding name is used twice or is not valid.' },
  10054: { status: 400, meaning: 'A variable or secret is too large.' },
  10055: { status: 400, meaning: 'Too many variables or bindings.' },
  10056: { status: 404, meaning: 'No binding (secret) of that name on the Worker.' },
  10057: { status: 400, meaning: 'A binding of type inherit has nothing to inherit from.' },
  10058: {
    status: 400,
    meaning: 'The feature (Durable Objects, containers, Python, tail Workers ...) does not exist here yet.',
  },
  10059: { status: 409, meaning: 'Other Workers bind this one: remove the bindings, or delete with force=true.' },
  10085: { status: 400, meaning: 'A binding names an R2 bucket that the account does not have.' },
  10090: { status: 404, meaning: 'The service (Worker) does not exist on this account.' },
  10143: { status: 400, meaning: 'A service binding names a Worker that does not exist on this account.' },
  10144: { status: 400, meaning: 'A service binding names an entrypoint that its Worker does not export.' },

  // Versions, deployments, secrets
  10211: { status: 400, meaning: 'The deployment is not valid: one or two versions whose percentages add up to 100.' },
  10212: { status: 404, meaning: 'The version or deployment does not exist on this Worker.' },
  10215: {
    status: 400,
    meaning: 'The latest version is not deployed, so its settings or secrets cannot be edited in place.',
  },
  10222: { status: 404, meaning: 'The Worker has no version yet.' },
  10321: { status: 409, meaning: 'A rollout of this Worker is running already.' },
  10322: { status: 404, meaning: 'The Worker has no rollout.' },

  // Triggers
  10009: { status: 404, meaning: 'No such route, or no origin of that host; of KV: no such key.' },
  10020: { status: 409, meaning: 'The route belongs to another Worker.' },
  10022: { status: 400, meaning: 'Not a valid route pattern.' },
  10023: { status: 403, meaning: 'The zone has the most routes (or origins) that it may have.' },
  10072: { status: 403, meaning: 'The Worker has the most cron triggers that it may have.' },
  10082: { status: 400, meaning: 'No zone of this account holds the host name.' },
  10100: { status: 400, meaning: 'Not a valid cron expression.' },
  100116: { status: 409, meaning: 'The host name is already the custom domain of another Worker.' },

  // KV
  10013: { status: 404, meaning: 'The KV namespace does not exist on this account.' },
  10014: { status: 400, meaning: 'The account has a KV namespace of this title already.' },
  10041: { status: 400, meaning: 'A binding names a KV namespace that does not exist on this account.' },

  // Queues (https://developers.cloudflare.com/queues/reference/error-codes/)
  10104: { status: 404, meaning: 'The queue of a message does not exist on this account.' },
  10202: { status: 400, meaning: 'The delay of a batch is not valid.' },
  10203: { status: 400, meaning: 'The content type or the delay of a message is not valid.' },
  10204: { status: 413, meaning: 'A message is larger than 128 KB.' },
  10205: { status: 413, meaning: 'A batch of messages is larger than 256 KB.' },
  10206: { status: 400, meaning: 'A batch has no message, or more than 100.' },
  10207: { status: 400, meaning: 'The body of a request about messages is not of the form that is expected.' },
  10208: { status: 400, meaning: 'The body of a request about messages is not valid JSON.' },
  10250: { status: 429, meaning: 'More messages come than the disk takes: try again later.' },
  10251: { status: 429, meaning: 'The queue has the largest backlog that it may have.' },
  11000: { status: 404, meaning: 'The queue does not exist on this account.' },
  11001: { status: 400, meaning: 'The Worker that is to consume a queue has no queue() handler.' },
  11002: { status: 404, meaning: 'The queue has no such consumer, or none that pulls.' },
  11003: { status: 400, meaning: 'Not a valid name for a queue.' },
  11004: { status: 409, meaning: 'The queue has a consumer already.' },
  11005: { status: 403, meaning: 'The account has the most queues that it may have.' },
  11009: { status: 409, meaning: 'The account has a queue of this name already.' },
  10064: { status: 409, meaning: 'The Worker consumes a queue: remove the consumer, or delete with force=true.' },
  100127: { status: 400, meaning: 'The settings of a consumer of a queue are not valid.' },
  100128: { status: 400, meaning: 'The settings of a queue are not valid.' },
  15000: { status: 500, meaning: 'A queue failed; the log of the machine says why.' },

  // D1
  7400: { status: 400, meaning: 'The request to D1 is malformed: the message says what and why.' },
  7404: { status: 404, meaning: 'The D1 database does not exist on this account.' },
  7406: { status: 403, meaning: 'The account has the most D1 databases that it may have.' },
  7500: { status: 400, meaning: 'The SQL failed, or its database did not answer; the message is SQLite’s or D1’s.' },
  7502: { status: 400, meaning: 'The account has a D1 database of this name already.' },

  // Durable Objects
  10061: { status: 400, meaning: 'A binding names a class that is not configured to implement Durable Objects.' },
  10066: { status: 404, meaning: 'The Durable Object namespace does not exist on this account.' },
  10070: { status: 400, meaning: 'The script does not export a class that has Durable Objects.' },
  10074: { status: 400, meaning: 'A migration does not fit the classes that the Worker has.' },
  10079: { status: 412, meaning: 'The migration expects another tag than the current one.' },

  // Static assets
  10301: { status: 400, meaning: 'The manifest of the assets is not valid; the message says which path and why.' },
  10302: { status: 413, meaning: 'A file of the assets is larger, or there are more files, than is allowed.' },
  10303: {
    status: 401,
    meaning:
      'The token of an asset upload is missing, not valid, expired (after an hour), or of another account or Worker.',
  },
  10304: {
    status: 400,
    meaning: 'An uploaded file is not the one that the manifest announced (hash, size, encoding).',
  },
  10305: { status: 400, meaning: 'The configuration of the assets is not valid, or their upload is not complete.' },

  // Metering
  10311: {
    status: 404,
    meaning: 'This Selvedge has no price sheet (`prices` in its configuration), so it makes no bills.',
  },

  // Moving in from S3
  10331: { status: 404, meaning: 'The job that copies a bucket from S3 does not exist on this account.' },
  10332: {
    status: 409,
    meaning: 'The account has the most jobs running that it may have, or the job has ended or is not paused.',
  },

  // Tail sessions
  10063: { status: 403, meaning: 'The Worker has the most tail sessions that it may have.' },
  10065: { status: 404, meaning: 'No such tail session on this Worker.' },
} as const satisfies Record<number, { status: number; meaning: string }>;

export type ErrorCode = keyof typeof ERRORS;

/** An error that the API answers as `{code, message}` with the status of its code. Never put secrets in `message`. */
export class ApiError extends Error {
  override name = 'ApiError';
  readonly code: ErrorCode;
  readonly status: (typeof ERRORS)[ErrorCode]['status'];
  readonly chain: { code: ErrorCode; message: string }[];
  constructor(code: ErrorCode, message: string, chain: { code: ErrorCode; message: string }[] = []) {
    super(message);
    this.code = code;
    this.status = ERRORS[code].status;
    this.chain = chain;
  }
}
