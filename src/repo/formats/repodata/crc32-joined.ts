/** CRC-32 is arithmetic on polynomials over GF(2), modulo this one; x^31 is the lowest bit. */
const POLYNOMIAL = 0xedb88320;

/** x^(2^k). */
const SQUARES = squares();

/** The CRC-32 of two byte strings in a row, from theirs. @param length of the second one, bytes */
export function crc32Joined(first: number, second: number, length: number): number {
  let power = 0x8000_0000;
  // x^(8 * length)
  for (let [left, k] = [length, 3]; left > 0; left = Math.floor(left / 2), k += 1) {
    if (left % 2 === 1) power = times(SQUARES[k % SQUARES.length] ?? 0, power);
  }
  return (times(power, first) ^ second) >>> 0;
}

function times(a: number, b: number): number {
  let [product, factor] = [0, b];
  for (let bit = 31; bit >= 0; bit -= 1) {
    if (((a >>> bit) & 1) === 1) product ^= factor;
    factor = (factor & 1) === 1 ? (factor >>> 1) ^ POLYNOMIAL : factor >>> 1;
  }
  return product >>> 0;
}

/** x^(2^32) is x again, so these are all. */
function squares(): number[] {
  const found = [0x4000_0000];
  for (let k = 1; k < 32; k += 1) {
    const last = found[k - 1] ?? 0;
    found.push(times(last, last));
  }
  return found;
}
