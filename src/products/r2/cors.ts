/** CORS rules of a bucket: their limits, and which one a request falls under (https://developers.cloudflare.com/r2/buckets/cors/). */
import { z } from 'zod';
import type { CorsRule } from './documents.ts';
import { R2, R2Error } from './limits.ts';

const METHODS = ['GET', 'PUT', 'POST', 'DELETE', 'HEAD'] as const;
const MAX_LISTED = 100;
const texts = z.array(z.string().min(1).max(512)).max(MAX_LISTED);

/** As the control API has them. */
export const CorsRules = z
  .array(
    z.object({
      id: z.string().max(255).optional(),
      allowed: z.object({
        origins: texts.min(1),
        methods: z.array(z.enum(METHODS)).min(1),
        headers: texts.optional(),
      }),
      exposeHeaders: texts.optional(),
      maxAgeSeconds: z.int().min(0).max(86_400).optional(),
    }),
  )
  .max(R2.corsRules);

/** Throws R2Error InvalidArgument for what could never match. */
export function checkCors(rules: CorsRule[]): CorsRule[] {
  for (const { allowed } of rules) {
    for (const origin of allowed.origins) {
      if (origin.split('*').length > 2) {
        throw new R2Error('InvalidArgument', `AllowedOrigin "${origin}" can not have more than one wildcard.`);
      }
    }
  }
  return rules;
}

/** The first rule that allows this; null if none does. `headers`: those of Access-Control-Request-Headers, of a preflight. */
export function matchingRule(
  rules: readonly CorsRule[],
  { origin, method, headers = [] }: { origin: string; method: string; headers?: string[] },
): CorsRule | null {
  return (
    rules.find(
      ({ allowed }) =>
        (allowed.methods as string[]).includes(method) &&
        allowed.origins.some((pattern) => matches(pattern, origin)) &&
        headers.every((name) => allowed.headers?.some((pattern) => matches(pattern.toLowerCase(), name.toLowerCase()))),
    ) ?? null
  );
}

/** Fields of an answer under a rule. `preflight`: the method and fields that were asked for. */
export function corsHeaders(
  rule: CorsRule,
  origin: string,
  preflight?: { method: string; headers: string[] },
): Record<string, string> {
  const any = rule.allowed.origins.includes('*');
  return {
    'access-control-allow-origin': any ? '*' : origin,
    ...(!any && { vary: 'Origin' }),
    ...(rule.exposeHeaders?.length && { 'access-control-expose-headers': rule.exposeHeaders.join(', ') }),
    ...(preflight && {
      'access-control-allow-methods': rule.allowed.methods.join(', '),
      ...(preflight.headers.length > 0 && { 'access-control-allow-headers': preflight.headers.join(', ') }),
      ...(rule.maxAgeSeconds !== undefined && { 'access-control-max-age': String(rule.maxAgeSeconds) }),
    }),
  };
}

/** `pattern` may have one "*". */
function matches(pattern: string, text: string): boolean {
  const at = pattern.indexOf('*');
  if (at < 0) return pattern === text;
  const [before, after] = [pattern.slice(0, at), pattern.slice(at + 1)];
  return text.length >= before.length + after.length && text.startsWith(before) && text.endsWith(after);
}
