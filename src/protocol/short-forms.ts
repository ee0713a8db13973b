/** Which short forms each side may send, and what reads them. */
import { BRIEF, readHttpCall, readHttpResult } from './brief.ts';
import { readIdsBegun } from './brief-begun.ts';
import { readHandleCall, readValueCall, readValueResult } from './brief-value.ts';
import type { Frame } from './frame.ts';

/** By type of frame. */
export type ShortForms = Readonly<Partial<Record<number, (bytes: Buffer) => Frame>>>;

export const FROM_DAEMON: ShortForms = {
  [BRIEF.HTTP_CALL]: readHttpCall,
  [BRIEF.VALUE_CALL]: readValueCall,
  [BRIEF.VALUE_RESULT]: readValueResult,
};

export const FROM_REPLICA: ShortForms = {
  [BRIEF.HTTP_RESULT]: readHttpResult,
  [BRIEF.VALUE_CALL]: readHandleCall,
  [BRIEF.VALUE_RESULT]: readValueResult,
  [BRIEF.IDS_BEGUN]: readIdsBegun,
};

/** On the socket that carries nothing else. */
export const BEGUN_ONLY: ShortForms = { [BRIEF.IDS_BEGUN]: readIdsBegun };
