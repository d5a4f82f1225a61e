/** Everything the story needs before it begins. */
import { copyFile } from 'node:fs/promises';
import path from 'node:path';
import type { Scope } from '../support/scope.ts';
import type { Form } from './form.ts';
import { Machine } from './machine.ts';
import { makePlaces, type Places } from './places.ts';
import { Stick } from './stick.ts';
import { IMAGES, ISOS, makeVendor, type Vendor } from './vendor.ts';

export const SITE = 'north';
/** Of the conductors of the pair, which share a place. */
export const PORTS = { a: 8480, b: 8481 };

export interface World {
  readonly scope: Scope;
  readonly form: Form;
  readonly places: Places;
  readonly vendor: Vendor;
  readonly stick: Stick;
  readonly staging: Machine;
  /** The conductor that is fed, and its twin. */
  readonly a: Machine;
  readonly b: Machine;
  readonly router: Machine;
}

export async function makeWorld(scope: Scope, form: Form, signal: AbortSignal): Promise<World> {
  const places = makePlaces(scope, form.bitsPerSecond, signal);
  const { enclave, branch } = places;
  const vendor = await makeVendor(scope, places.internet, form);
  const conductor = (name: 'a' | 'b', twin: 'a' | 'b') =>
    Machine.make(scope, name, enclave, `peer: ${urlOf(enclave.address, PORTS[twin])}\n`);
  const thin = places.instead === undefined ? '' : `maxBandwidth: ${form.bitsPerSecond / 1e6}Mbit\n`;
  return {
    scope,
    form,
    places,
    vendor,
    stick: await Stick.make(scope, form.stickMebibytes),
    staging: await makeStaging(scope, places, vendor),
    a: await conductor('a', 'b'),
    b: await conductor('b', 'a'),
    router: await Machine.make(scope, 'router', branch, thin),
  };
}

export function urlOf(address: string, port: number): string {
  return `http://${address}:${port}`;
}

async function makeStaging(scope: Scope, { staging }: Places, { url, token, keys, certificate }: Vendor) {
  const config = `upstreams:
  ssr:
    url: ${url}
    username: { env: SSR_USER }
    password: { env: SSR_TOKEN }
    ca: vendor-ca.pem
    keys: [${keys.map((file) => path.basename(file)).join(', ')}]
    mirror:
      - { kind: releases, path: ${ISOS}, select: ">=6.2 <6.3", arch: [x86_64] }
      - { kind: releases, path: ${IMAGES}, select: ">=6.3", formats: [iso] }
`;
  const machine = await Machine.make(scope, 'staging', staging, config, { SSR_USER: 'fleet', SSR_TOKEN: token });
  await copyFile(certificate, path.join(machine.data, 'vendor-ca.pem'));
  for (const file of keys) await copyFile(file, path.join(machine.data, path.basename(file)));
  return machine;
}
