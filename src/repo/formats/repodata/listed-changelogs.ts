import { type Changelog, changelogsOf } from '../rpm/changelogs.ts';
import type { RpmFile } from '../rpm/rpm-file.ts';

/** As many as createrepo_c lists by default, which clients of RHEL and Fedora expect. */
const LISTED = 10;

/**
 * The newest changelog entries, oldest first, as repodata lists them. Entries of one day have the same time; since some
 * clients order by time alone, the newer ones are moved on by a second each. Spaces behind the author are left out.
 * @throws as `changelogsOf`
 */
export function listedChangelogs(rpm: RpmFile): Changelog[] {
  const newestFirst: Changelog[] = [];
  let recorded: number | undefined;
  for (const { time, author, text } of changelogsOf(rpm)) {
    if (newestFirst.length === LISTED) break;
    if (time === recorded) makeRoomBefore(newestFirst, time);
    recorded = time;
    newestFirst.push({ time, author: withoutSpacesBehind(author), text });
  }
  return newestFirst.reverse();
}

/** Moves the last entry on if it has this time, and the one before it if that is then in its way, and so on. */
function makeRoomBefore(entries: Changelog[], time: number): void {
  let taken = time;
  for (let index = entries.length - 1; index >= 0; index -= 1) {
    const entry = entries[index];
    if (entry?.time !== taken) return;
    taken += 1;
    entries[index] = { ...entry, time: taken };
  }
}

/** The first character stays, whatever it is. A loop: a hostile author may be megabytes of spaces. */
function withoutSpacesBehind(author: string): string {
  let end = author.length;
  while (end > 1 && author[end - 1] === ' ') end -= 1;
  return author.slice(0, end);
}
