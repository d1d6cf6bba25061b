/** A clock that all processes of a machine share, for comparing when things happened in two of them. */

/** Node's performance.now() counts from the start of its process on the kernel's monotonic clock; hrtime from the kernel's own zero. */
const ZERO = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** `at`, a performance.now() of this process (by default now), on the machine's monotonic clock, ms. */
export function machineMs(at = performance.now()): number {
  return ZERO + at;
}
