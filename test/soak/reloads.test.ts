/** Reloads, in the short form. */
import t from 'tap';
import { reload, thousandReloads } from './r01-reload.ts';
import { short } from './short.ts';

t.setTimeout(240_000);

short(reload, ['the listener is opened anew at each snapshot']);
short(thousandReloads);
