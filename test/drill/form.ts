/** How much of everything there is: the long form is for people, the short one for `npm test`. */
export interface Form {
  readonly name: 'full' | 'short';
  /** Machines that upgrade at the first release; so many of them do at the second. */
  readonly clients: number;
  readonly clientsAgain: number;
  /** Clients that are at it together: more would only wait for the processor. */
  readonly together: number;
  /** Size of what both releases have in common, of what is new in each, and of an image-based release. */
  readonly kilobytes: { readonly common: number; readonly own: number; readonly image: number };
  /** Of the link between enclave and branch. */
  readonly bitsPerSecond: number;
  readonly stickMebibytes: number;
}

export const FULL: Form = {
  name: 'full',
  clients: 20,
  clientsAgain: 20,
  together: 5,
  kilobytes: { common: 40_000, own: 8_000, image: 24_000 },
  bitsPerSecond: 50e6,
  stickMebibytes: 512,
};

export const SHORT: Form = {
  name: 'short',
  clients: 4,
  clientsAgain: 1,
  together: 4,
  kilobytes: { common: 5_000, own: 2_000, image: 4_000 },
  bitsPerSecond: 30e6,
  stickMebibytes: 128,
};
