import { limits } from '../../../limits.ts';
import { beyondLimit, invalid } from './rpm-fault.ts';
import type { RpmFile } from './rpm-file.ts';
import { TAG } from './tags.ts';

export interface Changelog {
  /** Seconds since 1970, by custom at noon. */
  readonly time: number;
  /** Name, address and often the version. */
  readonly author: string;
  readonly text: string;
}

/**
 * The changelog as it is recorded, mostly newest first, one entry at a time.
 * @throws rpm.invalid if times, authors and texts differ in number; rpm.limit
 */
export function* changelogsOf({ header }: RpmFile): Generator<Changelog, void, undefined> {
  const times = header.numbers(TAG.changelogTime);
  if (times.length > limits.rpm.changelogs) {
    const what = `${times.length} changelog entries`;
    throw beyondLimit(header.positionOf(TAG.changelogTime), what, limits.rpm.changelogs);
  }
  for (const tag of [TAG.changelogName, TAG.changelogText]) {
    if (header.count(tag) === times.length) continue;
    const what = `the changelog has ${times.length} times but ${header.count(tag)} values in tag ${tag}`;
    throw invalid(header.positionOf(tag), what);
  }
  const texts = header.latin1Array(TAG.changelogText);
  const decode = header.decoderOf(TAG.changelogName, TAG.changelogText);
  let index = 0;
  for (const author of header.latin1Array(TAG.changelogName)) {
    const text = texts.next().value ?? '';
    yield { time: times.at(index), author: decode(author), text: decode(text) };
    index += 1;
  }
}
