/**
 * The products of this Selvedge, by the types of their bindings: those that exist, and those that Cloudflare has and that are not here yet.
 * A binding of the second kind is refused by name, never dropped.
 */
export const BINDING_TYPES = [
  'plain_text',
  'json',
  'secret_text',
  'service',
  'assets',
  'version_metadata',
  'wasm_module',
  'text_blob',
  'data_blob',
  'kv_namespace',
  'queue',
  'r2_bucket',
  'd1',
  'durable_object_namespace',
  'analytics_engine',
  'inherit',
] as const;

/** Binding type -> the product's name for people. */
export const ABSENT_PRODUCTS: Record<string, string> = {
  workflow: 'Workflows',
  hyperdrive: 'Hyperdrive',
  ai: 'Workers AI',
  ai_search: 'AI Search',
  browser: 'Browser Rendering',
  images: 'Images',
  media: 'Media Transformations',
  stream: 'Stream',
  vectorize: 'Vectorize',
  send_email: 'Email',
  dispatch_namespace: 'Workers for Platforms',
  ratelimit: 'Rate limiting',
  mtls_certificate: 'mTLS certificates',
  secrets_store_secret: 'Secrets Store',
  secret_key: 'secret keys',
  worker_loader: 'Worker loaders',
  pipelines: 'Pipelines',
  logfwdr: 'Logfwdr',
  vpc_service: 'Workers VPC',
};

/** Paths below /accounts/<id>/ of products that are not here yet -> the product's name. */
export const ABSENT_PATHS: Record<string, string> = {
  ai: 'Workers AI',
  autorag: 'AI Search',
  'browser-rendering': 'Browser Rendering',
  containers: 'Containers',
  hyperdrive: 'Hyperdrive',
  images: 'Images',
  mtls_certificates: 'mTLS certificates',
  pages: 'Pages',
  pipelines: 'Pipelines',
  secrets_store: 'Secrets Store',
  stream: 'Stream',
  vectorize: 'Vectorize',
  'workers/dispatch': 'Workers for Platforms',
  workflows: 'Workflows',
};
