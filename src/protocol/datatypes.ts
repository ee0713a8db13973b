/** Names that the Open Inference Protocol has for dtypes. */
import type { Dtype } from './value.ts';

export const DATATYPES: Readonly<Record<Dtype, string>> = {
  bool: 'BOOL',
  uint8: 'UINT8',
  int8: 'INT8',
  uint16: 'UINT16',
  int16: 'INT16',
  float16: 'FP16',
  uint32: 'UINT32',
  int32: 'INT32',
  float32: 'FP32',
  uint64: 'UINT64',
  int64: 'INT64',
  float64: 'FP64',
  string: 'BYTES',
};
