/**
 * Limits, each named once. Sizes in bytes, times in ms. Where Cloudflare documents a number it is the default
 * (https://developers.cloudflare.com/workers/platform/limits/); an operator's settings may lower or raise those in `Plan`.
 */
const MiB = 1024 * 1024;

export const LIMITS = {
  /** A Worker's modules together, after gzip and before (Workers Paid). */
  scriptCompressedBytes: 10 * MiB,
  scriptBytes: 64 * MiB,
  modulesPerVersion: 1000,
  scriptNameLength: 63,
  bindingsPerVersion: 1000,
  /** Environment variables and secrets: 128 per Worker, 5 KB each. */
  variablesPerVersion: 128,
  variableBytes: 5 * 1024,
  assetFileBytes: 25 * MiB,
  assetFiles: 20_000,
  routesPerZone: 1000,
  originsPerZone: 1000,
  schedulesPerScript: 250,
  /** Versions kept per script; older ones that are not deployed are removed. */
  versionsPerScript: 100,
  scriptsPerAccount: 500,
  tailSessionsPerScript: 10,
  /**
   * Subrequests of one Worker to hosts that this machine serves, open at the same time: a Worker that calls itself without forwarding
   * headers leaves no other trace of how deep it is.
   */
  openSubrequestsToSelf: 512,
  /** Bodies of the control API that are not uploads. */
  apiBodyBytes: 1 * MiB,
  /** Wall-clock bound of a script's start; its CPU bound is `startupCpuMs`. */
  startupWallMs: 10_000,
  startupCpuMs: 1000,
} as const;

/** Defaults and maxima of a version's limits. */
export interface Plan {
  cpuMs: { default: number; max: number };
  memoryMb: { default: number; max: number };
  subrequests: { default: number; max: number };
  /** Body of one request. */
  bodyBytes: number;
}

export const DEFAULT_PLAN: Plan = {
  cpuMs: { default: 30_000, max: 300_000 },
  memoryMb: { default: 128, max: 128 },
  subrequests: { default: 1000, max: 10_000 },
  // "Request limits", Free and Pro.
  bodyBytes: 100 * MiB,
};
