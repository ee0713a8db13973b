/** What a client says of which model and which session its request is for, and how urgent it is; one reading for the data plane and the replica. */
import { headerOf } from './http-value.ts';

/** Ray Serve takes both spellings; proxies such as nginx drop headers with underscores unless told otherwise. */
const MODEL_HEADERS = ['serve_multiplexed_model_id', 'serve-multiplexed-model-id'] as const;

/** An empty header says nothing. */
export const modelIdOf = (headers: readonly string[]): string | undefined => {
  for (const name of MODEL_HEADERS) {
    const id = headerOf(headers, name);
    if (id !== undefined && id !== '') return id;
  }
  return undefined;
};

export const sessionIdOf = (headers: readonly string[]): string | undefined => headerOf(headers, 'x-session-id') || undefined;

/** 0, the most urgent, to 7; what is none of these says nothing. */
export const priorityOfHeaders = (headers: readonly string[]): number | undefined => {
  const text = headerOf(headers, 'x-priority');
  return text !== undefined && /^[0-7]$/.test(text) ? Number(text) : undefined;
};
