/** Replicas die, hang and loop, in the short form. */
import t from 'tap';
import { replicaDeath } from './r05-replica-death.ts';
import { poison } from './r09-poison.ts';
import { short } from './short.ts';

t.setTimeout(240_000);

short(replicaDeath, ['a forged ledger', 'what was begun counts as not begun']);
short(poison);
