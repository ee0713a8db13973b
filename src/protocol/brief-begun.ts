/**
 * The short form of BEGUN, for daemons that take it (WELCOME `briefValues`): u32 length and u32 type as in every frame, u32 number of ids,
 * u32 0, then the ids as f64. All numbers little-endian.
 */
import { BRIEF } from './brief.ts';
import { FRAME, type Frame, ProtocolError } from './frame.ts';

const HEAD_BYTES = 16;
const ID_BYTES = 8;

/** A whole frame. */
export const idsBegun = (ids: readonly number[]): Buffer => {
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + ID_BYTES * ids.length);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt32LE(BRIEF.IDS_BEGUN, 4);
  bytes.writeUInt32LE(ids.length, 8);
  bytes.writeUInt32LE(0, 12);
  for (let index = 0; index < ids.length; index++) bytes.writeDoubleLE(ids[index] as number, HEAD_BYTES + ID_BYTES * index);
  return bytes;
};

/** One whole frame of type IDS_BEGUN, as a BEGUN. @throws ProtocolError */
export const readIdsBegun = (bytes: Buffer): Frame => {
  const count = bytes.readUInt32LE(8);
  if (HEAD_BYTES + ID_BYTES * count > bytes.length) throw new ProtocolError('an IDS_BEGUN has fewer ids than it says');
  const ids: number[] = [];
  for (let index = 0; index < count; index++) ids.push(bytes.readDoubleLE(HEAD_BYTES + ID_BYTES * index));
  return { type: FRAME.BEGUN, meta: { ids }, skeletons: NO_BYTES, segments: [] };
};

const NO_BYTES = Buffer.alloc(0);
