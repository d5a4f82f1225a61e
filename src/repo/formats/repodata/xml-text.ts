/** What may not stand in XML 1.0 at all (section 2.2), not even as a character reference. */
const FORBIDDEN = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;
/** None of these is in it, which is quicker to see than to look for each. */
const ALLOWED = /^[\t\n\r -~]*$/;
const UNSAFE_IN_TEXT = /[<>&\r]/g;
const UNSAFE_IN_ATTRIBUTE = /[<>&"\t\n\r]/g;
/** Most texts have none of these. */
const PLAIN = /^[ !#-%'-;=?-~]*$/;

const REFERENCES: Readonly<Record<string, string>> = {
  '<': '&lt;',
  '>': '&gt;',
  '&': '&amp;',
  '"': '&quot;',
  '\t': '&#9;',
  '\n': '&#10;',
  '\r': '&#13;',
};

/** Text for between two tags. Characters that XML forbids are left out; every other comes back as it is. */
export function xmlText(text: string): string {
  return PLAIN.test(text) ? text : allowed(text).replace(UNSAFE_IN_TEXT, reference);
}

/** As `xmlText`, for an attribute's value in double quotes. */
export function xmlAttribute(text: string): string {
  return PLAIN.test(text) ? text : allowed(text).replace(UNSAFE_IN_ATTRIBUTE, reference);
}

function allowed(text: string): string {
  return ALLOWED.test(text) ? text : text.replace(FORBIDDEN, '');
}

function reference(char: string): string {
  return REFERENCES[char] ?? char;
}
