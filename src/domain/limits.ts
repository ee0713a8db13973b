/** Bounds that more than one part keeps to. */

/** A config file. */
export const MAX_CONFIG_BYTES = 4 * 1024 * 1024;
