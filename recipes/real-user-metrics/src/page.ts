/** A page that tells how fast it was: once, when its visitor leaves it or looks elsewhere. */
export const PAGE = `<!doctype html>
<html lang="en">
<title>Real-user metrics</title>
<h1>How fast was this page?</h1>
<p>The <a href="/report">report</a> knows when you have left it.</p>
<script>
  const seen = { page: location.pathname };
  const watch = (type, take) => {
    if (PerformanceObserver.supportedEntryTypes.includes(type)) {
      new PerformanceObserver((list) => list.getEntries().forEach(take)).observe({ type, buffered: true });
    }
  };
  watch('navigation', (entry) => { seen.TTFB = entry.responseStart; });
  watch('paint', (entry) => { if (entry.name === 'first-contentful-paint') seen.FCP = entry.startTime; });
  watch('largest-contentful-paint', (entry) => { seen.LCP = entry.startTime; });
  watch('layout-shift', (entry) => { if (!entry.hadRecentInput) seen.CLS = (seen.CLS ?? 0) + entry.value; });
  watch('event', (entry) => { if (entry.interactionId) seen.INP = Math.max(seen.INP ?? 0, entry.duration); });
  let told = false;
  addEventListener('visibilitychange', () => {
    if (document.visibilityState !== 'hidden' || told) return;
    told = true;
    navigator.sendBeacon('/beacon', JSON.stringify(seen));
  });
</script>
`;
