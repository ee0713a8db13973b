/**
 * How much memory V8 gives to objects that have just been made. Left alone it is doubled whenever much of it survives, as in every reload,
 * up to 32 MB for each thread, and what the main thread was given once it keeps.
 */
import { setFlagsFromString } from 'node:v8';

/** The data plane makes some 5 kB for each request. MB, twice: 2 to 16 cost the same CPU for each. */
const DATA_PLANE_MB = 4;

/** From now on no thread gets more than it has; to be said again when a thread was made, for V8 then forgets it. */
export const keepYoungSpaces = (): void => setFlagsFromString('--semi-space-growth-factor=1');

/** For the thread that is made next. */
export const giveDataPlaneSpace = (): void => setFlagsFromString(`--min-semi-space-size=${DATA_PLANE_MB}`);
