/** Where the story plays: five networks, or five addresses of the loopback where networks cannot be made. */
import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';
import { systemCode } from '../../src/errors.ts';
import { Network, needsNamespaces } from '../support/netns.ts';
import type { Scope } from '../support/scope.ts';

export interface Place {
  /** Where its servers listen. */
  readonly address: string;
  /** Stands before a command that shall run there. */
  readonly wrapper: readonly string[];
  /** Runs a program that is no part of Airlock. @returns its standard output */
  run(command: string, ...args: string[]): Promise<string>;
}

export interface Places {
  /** Why they are no networks of their own. */
  readonly instead: string | undefined;
  readonly internet: Place;
  readonly staging: Place;
  readonly enclave: Place;
  readonly branch: Place;
  /** Machines behind the router of the branch. */
  readonly clients: Place;
  /** What the enclave has sent over the link to the branch, in bytes; 0 without networks. */
  sentOverLink(): Promise<number>;
}

/** @param signal ends what runs there */
export function makePlaces(scope: Scope, bitsPerSecond: number, signal: AbortSignal): Places {
  const { skip } = needsNamespaces('curl');
  return skip === undefined ? networks(scope, bitsPerSecond, signal) : addresses(skip, signal);
}

/** internet — staging; enclave — branch — clients: nothing joins the two halves. */
function networks(scope: Scope, bitsPerSecond: number, signal: AbortSignal): Places {
  const network = new Network(scope);
  const [internet, staging, enclave, branch, clients] = [1, 2, 3, 4, 5].map(() => {
    const space = network.namespace();
    scope.after(() => killAllIn(space.name));
    return space;
  });
  if (!internet || !staging || !enclave || !branch || !clients) throw new Error('unreachable');
  const [inner, outer] = network.link(staging, internet);
  const [near, far] = network.link(branch, enclave);
  const [own, lan] = network.link(clients, branch);
  far.shape(bitsPerSecond);
  near.shape(bitsPerSecond);
  return {
    instead: undefined,
    internet: placeAt(outer.address, internet.wrapper, signal),
    staging: placeAt(inner.address, staging.wrapper, signal),
    enclave: placeAt(far.address, enclave.wrapper, signal),
    branch: placeAt(lan.address, branch.wrapper, signal),
    clients: placeAt(own.address, clients.wrapper, signal),
    sentOverLink: () => far.sent(),
  };
}

function addresses(instead: string, signal: AbortSignal): Places {
  const net = `127.${20 + (process.pid % 200)}`; // two drills do not meet
  const at = (host: number) => placeAt(`${net}.${host}.1`, [], signal);
  return {
    instead,
    internet: at(1),
    staging: at(2),
    enclave: at(3),
    branch: at(4),
    clients: at(5),
    sentOverLink: async () => 0,
  };
}

function placeAt(address: string, wrapper: readonly string[], signal: AbortSignal): Place {
  return {
    address,
    wrapper,
    run: async (...words) => {
      const [command = '', ...args] = [...wrapper, ...words];
      return (await promisify(execFile)(command, args, { signal, maxBuffer: 2 ** 26 })).stdout;
    },
  };
}

/** Whoever still runs in a namespace would go on running without it. */
function killAllIn(namespace: string): void {
  const env = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };
  const pids = execFileSync('ip', ['netns', 'pids', namespace], { encoding: 'utf8', env }).match(/\d+/g) ?? [];
  for (const pid of pids) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch (error) {
      if (systemCode(error) !== 'ESRCH') throw error; // it ended meanwhile
    }
  }
}
