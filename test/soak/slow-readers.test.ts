/** Readers that are slow, in the short form. */
import t from 'tap';
import { slowReaders } from './r19-slow-readers.ts';
import { short } from './short.ts';

t.setTimeout(240_000);

short(slowReaders, ['a stream takes no notice of its reader']);
