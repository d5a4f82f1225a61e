/**
 * Small text files of a vendor (checksums, signatures, keys) go wrong in the same few ways: the download came
 * back empty, a portal answered with a web page, or a text tool rewrote the file.
 */

/** Bytes that are looked at: enough for any preamble of a web page. */
const HEAD = 1024;

/**
 * Says what `bytes` are instead of the small text file that was expected.
 * @returns a clause that goes after "the file", with what to do next; undefined if nothing of this kind is wrong
 */
export function unexpectedContent(bytes: Uint8Array): string | undefined {
  if (bytes.length === 0) return 'is empty; download it again';
  if (isUtf16(bytes)) {
    return 'is UTF-16 text, as some Windows tools write it; save it as UTF-8 or download it again';
  }
  if (looksLikeWebPage(bytes)) {
    return 'is a web page: a login or captive portal, or an error page, answered instead of the vendor; log in there and download it again';
  }
  return undefined;
}

/** True if `bytes` begin as HTML or XML does. */
function looksLikeWebPage(bytes: Uint8Array): boolean {
  const head = Buffer.from(bytes.subarray(0, HEAD))
    .toString('utf8')
    .replace(/^\uFEFF/, '')
    .trimStart();
  return /^<(?:!doctype|!--|\?xml|html|head|body|title|script|meta)\b/i.test(head) || head.startsWith('<!--');
}

function isUtf16(bytes: Uint8Array): boolean {
  return (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff);
}
