/** The daemon is killed, and stops in order, in the short form. */
import t from 'tap';
import { daemonDeath } from './r10-daemon-death.ts';
import { gracefulStop } from './r11-graceful-stop.ts';
import { short } from './short.ts';

t.setTimeout(240_000);

short(daemonDeath);
short(gracefulStop, ['nothing is waited for']);
