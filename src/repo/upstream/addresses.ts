/**
 * Which addresses a request may go to. A redirect, or a name that suddenly means another address, must not lead us to
 * what only we can reach: this machine, its neighbours, a cloud's metadata service.
 */
import dns from 'node:dns';
import net from 'node:net';
import { AirlockError } from '../../errors.ts';

const INNER = new net.BlockList();
for (const [network, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10], // carrier-grade NAT, RFC 6598; 100.100.100.200 is a metadata service
  ['127.0.0.0', 8],
  ['169.254.0.0', 16], // link-local, and the metadata services of most clouds
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 3], // multicast, reserved, broadcast
] as const) {
  INNER.addSubnet(network, prefix, 'ipv4');
}
for (const [network, prefix] of [
  ['::', 127], // unspecified and loopback
  ['64:ff9b:1::', 48],
  ['fc00::', 7],
  ['fe80::', 10],
  ['fec0::', 10],
  ['ff00::', 8],
] as const) {
  INNER.addSubnet(network, prefix, 'ipv6');
}

/** True for addresses that only we, or our neighbours, can reach. Text that is no address counts as such. */
export function isInnerAddress(address: string): boolean {
  const family = net.isIP(address);
  if (family === 4) return INNER.check(address, 'ipv4');
  if (family !== 6) return true;
  return INNER.check(address, 'ipv6') || embeddedIpv4(address).some((inner) => INNER.check(inner, 'ipv4'));
}

/** IPv4 addresses that lie in IPv6 ones: mapped, compatible, NAT64 (64:ff9b::/96), 6to4 (2002::/16). */
function embeddedIpv4(address: string): string[] {
  const groups = ipv6Groups(address);
  const at = (index: number) => {
    const [high = 0, low = 0] = groups.slice(index, index + 2);
    return [high >> 8, high & 255, low >> 8, low & 255].join('.');
  };
  const zeros = (count: number) => groups.slice(0, count).every((group) => group === 0);
  if (zeros(5) && (groups[5] === 0xffff || groups[5] === 0)) return [at(6)];
  if (groups[0] === 0x64 && groups[1] === 0xff9b) return [at(6)];
  return groups[0] === 0x2002 ? [at(1)] : [];
}

function ipv6Groups(address: string): number[] {
  const plain = address.replace(/%.*$/, '').replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) => {
    const hex = (high: string, low: string) => ((Number(high) << 8) | Number(low)).toString(16);
    return `${hex(a, b)}:${hex(c, d)}`;
  });
  const [head = '', tail] = plain.split('::');
  const parse = (part: string) => (part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16)));
  const [left, right] = [parse(head), parse(tail ?? '')];
  return tail === undefined ? left : [...left, ...Array(Math.max(0, 8 - left.length - right.length)).fill(0), ...right];
}

/** Says which hosts are named by the configuration, and so may be on any address. */
export type MayBeInner = (host: string) => boolean;

/**
 * For the `lookup` option of a socket: resolves a name anew, and fails with upstream.address-refused where it leads to
 * an inner address that the configuration does not name.
 */
export function guardedLookup(mayBeInner: MayBeInner): net.LookupFunction {
  return (host, options, callback) => {
    dns.lookup(host, { ...options, all: true }, (error, addresses) => {
      if (error !== null) {
        callback(error, '');
        return;
      }
      const inner = mayBeInner(host) ? undefined : addresses.find(({ address }) => isInnerAddress(address));
      const [first] = addresses;
      if (inner !== undefined) callback(refusedAddress(host, inner.address), '');
      else if (options.all === true) callback(null, addresses);
      else callback(null, first?.address ?? '', first?.family);
    });
  };
}

/** For hosts that are addresses themselves: nobody looks these up. @throws upstream.address-refused */
export function assertMayReach(url: URL, mayBeInner: MayBeInner): void {
  const host = hostOf(url);
  if (net.isIP(host) !== 0 && isInnerAddress(host) && !mayBeInner(host)) throw refusedAddress(host, host);
}

/** Without the brackets of IPv6. */
export function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '');
}

function refusedAddress(host: string, address: string): AirlockError {
  return new AirlockError(
    'upstream.address-refused',
    `${host} is at ${address}, which is a loopback, private or link-local address, and the configuration does not name it. If it shall be reached, name its host in "url" or "hosts" of an upstream.`,
    { details: { host, address } },
  );
}
