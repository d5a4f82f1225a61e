import type { Vendor } from './facts.ts';

/** `conductor` and `router` run beside each other (of Aviatrix: controller and gateway); one node goes `from` `to`. */
export type Side = 'conductor' | 'router' | 'from' | 'to';

/**
 * Something true or not of a release. Bounds are X.Y.Z and include all builds of it. The parameters that name another
 * side compare with what runs there; given several, all must hold.
 */
export interface Condition {
  readonly side: Side;
  readonly atLeast?: string;
  readonly atMost?: string;
  readonly below?: string;
  /** major.minor is at least that of the other side. */
  readonly trainAtLeast?: Side;
  /** Not before the other side in the order of releases. */
  readonly notBefore?: Side;
  readonly sameAs?: Side;
  /** The train of the other side, or the one published next. */
  readonly withinOneTrainOf?: Side;
}

/** Broken where everything in `when` holds and not everything in `unless`. */
export interface Rule {
  readonly id: string;
  readonly vendor: Vendor;
  readonly check: 'pair' | 'upgrade';
  /** The rule is for one role only. */
  readonly role?: 'conductor';
  readonly severity: 'error' | 'warning';
  readonly when: readonly Condition[];
  readonly unless: readonly Condition[];
  /** What is wrong and what to do; `{conductor}` and so on stand for the versions, `{conductor.train}` for trains. */
  readonly text: string;
  /** Where the vendor says so. */
  readonly source: string;
}

/** The vendors' rules (vendor.md A9, B1, C1). A new one is a new row. */
export const RULES: readonly Rule[] = [
  {
    id: 'conductor-train',
    vendor: 'ssr',
    check: 'pair',
    severity: 'error',
    when: [],
    unless: [{ side: 'conductor', trainAtLeast: 'router' }],
    text:
      'A conductor on {conductor} cannot manage a router on {router}: its train must be {router.train} or newer. ' +
      'Upgrade the conductor first, or choose a router release of {conductor.train} or older.',
    source: 'SSR, "Upgrading the SSR networking platform": conductor major.minor is not lower than router major.minor',
  },
  {
    id: 'router-6.3.5',
    vendor: 'ssr',
    check: 'pair',
    severity: 'error',
    when: [{ side: 'router', atLeast: '6.3.5' }],
    unless: [{ side: 'conductor', atLeast: '6.3.5' }],
    text:
      'A router on {router} needs a conductor on 6.3.5 or newer; {conductor} is not compatible. ' +
      'Upgrade the conductor first, or choose a router release before 6.3.5.',
    source: 'SSR 6.3 release notes, compatibility of 6.3.5',
  },
  {
    id: 'router-5.4.0',
    vendor: 'ssr',
    check: 'pair',
    severity: 'warning',
    when: [
      { side: 'conductor', atLeast: '6.3.5' },
      { side: 'router', atMost: '5.4.0' },
    ],
    unless: [],
    text:
      'Routers on 5.4.0 or older do not work with conductors on 6.3.5 or newer (here {router} and {conductor}). ' +
      'Upgrade the router to a release after 5.4.0 before the conductor.',
    source: 'SSR 6.3 release notes, I95-60465',
  },
  {
    id: 'stop-before-7.0.1',
    vendor: 'ssr',
    check: 'upgrade',
    role: 'conductor',
    severity: 'error',
    when: [
      { side: 'from', atMost: '6.3.4' },
      { side: 'to', atLeast: '7.0.1' },
    ],
    unless: [],
    text:
      'A conductor cannot go from {from} straight to {to}. Upgrade it to 6.3.5 or a later 6.3 first, ' +
      'wait until all routers are Synchronized (they get new keys), then go on to {to}.',
    source: 'SSR 7.0 and 7.1 release notes',
  },
  {
    id: 'no-downgrade-from-7',
    vendor: 'ssr',
    check: 'upgrade',
    severity: 'error',
    when: [
      { side: 'from', atLeast: '7.0.0' },
      { side: 'to', below: '7.0.0' },
    ],
    unless: [],
    text:
      'From {from} there is no downgrade to {to}. If {to} was installed before, go back to it with ' +
      '"request system software revert"; otherwise stay on 7.0 or newer, or install anew.',
    source: 'SSR 7.2 release notes',
  },
  {
    id: 'installer-3.1.0',
    vendor: 'ssr',
    check: 'upgrade',
    severity: 'warning',
    when: [
      { side: 'from', below: '5.4.0' },
      { side: 'to', atLeast: '5.4.0' },
    ],
    unless: [],
    text: 'The way from {from} to {to} needs the installer 3.1.0 or newer: update 128T-installer first.',
    source: 'SSR 5.4 release notes, I95-42624',
  },
  {
    id: 'controller-first',
    vendor: 'aviatrix',
    check: 'pair',
    severity: 'error',
    when: [],
    unless: [{ side: 'conductor', notBefore: 'router' }],
    text:
      'A controller on {conductor} is behind its gateway on {router}. Upgrade the controller first, ' +
      'or choose a gateway release not newer than {conductor}.',
    source: 'Aviatrix, "Upgrading the controller and gateways": controller first, never behind a gateway',
  },
  {
    id: 'one-version',
    vendor: 'aviatrix',
    check: 'pair',
    severity: 'warning',
    when: [{ side: 'conductor', notBefore: 'router' }],
    unless: [{ side: 'conductor', sameAs: 'router' }],
    text:
      'Controller ({conductor}) and gateway ({router}) differ, which is meant only for the time of a rolling upgrade. ' +
      'Bring all gateways to {conductor} before the controller is upgraded again.',
    source: 'Aviatrix, "Upgrading the controller and gateways": all gateways run the version of the controller',
  },
  {
    id: 'never-back',
    vendor: 'aviatrix',
    check: 'upgrade',
    role: 'conductor',
    severity: 'error',
    when: [],
    unless: [{ side: 'to', notBefore: 'from' }],
    text: 'A controller on {from} cannot go back to {to}: only gateways can be rolled back. Choose {from} or newer.',
    source: 'Aviatrix, "Upgrading the controller and gateways": the target is not earlier than what runs',
  },
  {
    id: 'one-train-at-a-time',
    vendor: 'aviatrix',
    check: 'upgrade',
    severity: 'error',
    when: [{ side: 'to', notBefore: 'from' }],
    unless: [{ side: 'to', withinOneTrainOf: 'from' }],
    text:
      'Trains cannot be skipped, and {from.train} is followed by {next}, not {to.train}. ' +
      'Upgrade to the newest build of {from.train}, then to that of {next}, and so on.',
    source: 'Aviatrix, "Upgrading the controller and gateways": minor releases in sequence',
  },
];
