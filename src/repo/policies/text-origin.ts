/** Where texts come from: one object of S3 has several addresses (vendor.md B4). */

/**
 * True for two addresses of one text. `https://s3-us-west-2.amazonaws.com/BUCKET/KEY`, the same with a dot after `s3`, and
 * `https://BUCKET.s3.us-west-2.amazonaws.com/KEY` are one, with or without their region: names of buckets are unique in all
 * of them. Scheme, encoding of characters and case of hosts do not matter either.
 */
export function isSameOrigin(first: string, second: string): boolean {
  return first === second || identity(first) === identity(second);
}

const REGION = /(?:[.-](?:dualstack\.)?[a-z]{2}(?:-[a-z]+)+-\d)?/.source;
const S3 = new RegExp(
  `^(?:(?<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])\\.)?s3${REGION}\\.amazonaws\\.com(?<cn>\\.cn)?$`,
);

function identity(address: string): string {
  const url = URL.parse(address);
  if (url === null) return address;
  const path = decoded(url.pathname);
  const { bucket, cn = '' } = S3.exec(url.hostname)?.groups ?? {};
  if (bucket !== undefined) return `s3${cn} ${bucket}${path}${url.search}`;
  if (S3.test(url.hostname)) return `s3${cn} ${path.slice(1)}${url.search}`;
  return `${url.host}${path}${url.search}`;
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
