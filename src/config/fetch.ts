/**
 * What `cache:` and `download:` may say: how what was fetched is kept, and with how much patience it is fetched.
 */
import { z } from 'zod';
import { limits } from '../limits.ts';
import { quote } from '../repo/formats/quote.ts';
import { duration, formatDuration, formatSize, size } from './values.ts';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

/** A duration between two others, milliseconds. */
const between = (least: number, most: number) =>
  duration
    .refine((time) => time >= least, `is too short; the least is ${formatDuration(least)}`)
    .refine((time) => time <= most, `is too long; the most is ${formatDuration(most)}`);

/** How long content is taken as current. A duration takes the place of whatever its source says; null: as that says. */
const freshness = z
  .union([z.literal('source'), between(0, 30 * DAY)], {
    error: 'is neither "source" nor a duration of at most 30d, such as 5min',
  })
  .meta({ title: 'source, or a duration of at most 30d' })
  .transform((value) => (value === 'source' ? null : value))
  .prefault('source');

/** Of what a fill has to bring, the part that must be there; 0: it is finished in any case. */
const abandoned = z
  .union([z.string(), z.number()])
  .meta({ title: 'finish, or a part such as 50%' })
  .transform((value, context) => {
    if (value === 'finish') return 0;
    const percent = Number(/^(\d{1,3}(?:\.\d+)?) ?%$/.exec(String(value))?.[1]);
    if (percent > 0 && percent <= 100) return percent / 100;
    context.addIssue(
      `${typeof value === 'string' ? quote(value) : value} is neither "finish" nor a part such as 50%, up to which it is given up`,
    );
    return z.NEVER;
  });

/** What is kept of what was fetched. */
export const cacheSection = z
  .strictObject({
    size: size({ least: 2 ** 20, most: 2 ** 50, why: 'so that it can be counted' })
      .optional()
      .meta({ description: 'Of all kept copies together; without it they may fill the disk.', examples: ['200GiB'] }),
    pinned: z
      .array(z.string().min(1))
      .default([])
      .meta({ description: 'Releases, or other parts of a path, that never go.', examples: [['6.3.0']] }),
    fresh: z
      .strictObject({
        repodata: freshness.meta({ description: 'Of repomd.xml; the files that it names never change.' }),
        listings: freshness.meta({ description: 'Of lists of folders.' }),
        metadata: freshness.meta({ description: 'Of checksum files, signatures, policies, and all else.' }),
      })
      .prefault({})
      .meta({
        description:
          'How long a copy is served before its source is asked again whether it is current. source: as the source says (RFC 9111), and 1min where it says nothing. Images, packages, what is named by its digest and what its source calls immutable never change.',
      }),
    stale: between(0, limits.config.duration).prefault(formatDuration(limits.proxy.stale)).meta({
      description:
        'How long after it ceased to be current a copy is still served when no source can be asked; 0: not at all.',
    }),
    missing: between(0, DAY)
      .prefault(formatDuration(limits.proxy.missingAge))
      .meta({ description: 'How long it is believed that a source has no such file; 0: it is asked each time.' }),
  })
  .prefault({});

/** With how much patience files are fetched (vendor.md A4). */
export const downloadSection = z
  .strictObject({
    attempts: z
      .number({ error: 'is no number; write how many, such as 10' })
      .int('is no whole number')
      .min(0, 'is too few; the least is 0, which means: until the timeout')
      .max(255, 'is too many; the most is 255')
      .default(limits.proxy.attempts)
      .meta({
        description:
          'Rounds through all sources that bring nothing new, before a file is given up; 0: until the timeout.',
      }),
    timeout: between(30 * MINUTE, 7 * DAY)
      .prefault(formatDuration(limits.proxy.timeout))
      .meta({
        description: 'Of one file altogether; what is there then is kept, and gone on with when somebody asks again.',
      }),
    maxRetryDelay: between(0, DAY).prefault(formatDuration(limits.proxy.maxRetryDelay)).meta({
      description:
        'Between two rounds: it begins with 30s, doubles each time, and is never longer than this, nor shorter than 1s.',
    }),
    abandoned: abandoned.prefault('finish').meta({
      description:
        'What becomes of a file when all who wanted it have gone. finish: it is fetched all the same, for somebody will want it again; 50%: it is given up where less than that is there. What is there is kept for the next who asks.',
    }),
  })
  .prefault({});

type Cache = z.output<typeof cacheSection>;
type Download = z.output<typeof downloadSection>;

/** As it is written by hand. */
export function printCache({ size: most, pinned, fresh, stale, missing }: Cache): object {
  const written = (time: number | null) => (time === null ? 'source' : formatDuration(time));
  return {
    ...(most === undefined ? {} : { size: formatSize(most) }),
    pinned,
    fresh: {
      repodata: written(fresh.repodata),
      listings: written(fresh.listings),
      metadata: written(fresh.metadata),
    },
    stale: formatDuration(stale),
    missing: formatDuration(missing),
  };
}

/** As it is written by hand. */
export function printDownload({ attempts, timeout, maxRetryDelay, abandoned: part }: Download): object {
  return {
    attempts,
    timeout: formatDuration(timeout),
    maxRetryDelay: formatDuration(maxRetryDelay),
    abandoned: part === 0 ? 'finish' : `${Number((part * 100).toFixed(6))}%`,
  };
}
