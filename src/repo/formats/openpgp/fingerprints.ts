/** Full fingerprint of a version 4 key (SHA-1) or a version 6 key (SHA-256): upper-case hexadecimal digits. */
const FULL = /^(?:[0-9A-F]{40}|[0-9A-F]{64})$/;

/**
 * A full fingerprint as people write it: spaces, colons, a leading `0x` and lower case are taken off.
 * @returns 40 or 64 upper-case hexadecimal digits; undefined for anything else, short key ids among it
 */
export function normalFingerprint(text: string): string | undefined {
  const digits = text.trim().replace(/^0x/i, '').replace(/[\s:]/g, '').toUpperCase();
  return FULL.test(digits) ? digits : undefined;
}

/** True for what can only be a short or long key id, which anybody can forge. */
export function isKeyId(text: string): boolean {
  return /^(?:0x)?[0-9a-f\s:]+$/i.test(text.trim()) && text.replace(/^0x/i, '').replace(/[\s:]/g, '').length < 40;
}
