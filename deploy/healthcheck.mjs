/** Ends with 0 when the daemon serves: /-/healthz on $PORT, or 8000. For the HEALTHCHECK of an image. */
const port = process.env.PORT ?? '8000';
try {
  const { status } = await fetch(`http://127.0.0.1:${port}/-/healthz`, { signal: AbortSignal.timeout(4000) });
  if (status !== 200) console.error(`/-/healthz answered ${status}`);
  process.exitCode = status === 200 ? 0 : 1;
} catch (error) {
  console.error(`no answer on port ${port}: ${error.cause?.message ?? error.message}`);
  process.exitCode = 1;
}
