/** Bounds that more than one part keeps to. */

/** A file is read once it has not changed for this long: editors and copies write in pieces. */
export const QUIET_MS = 150;

/** A config file. */
export const MAX_CONFIG_BYTES = 4 * 1024 * 1024;
