/**
 * The keys of the configuration, as the schema has them: for the reference, the commented example and the variables of the
 * environment. What a key means stands with it in the schema (`description`), and what one may write there (`examples`).
 */
import { z } from 'zod';

export interface ConfigKey {
  /** `log`, `maxSize`. `NAME` stands for a name that the user gives. */
  readonly path: readonly string[];
  readonly kind: 'section' | 'named sections' | 'rules' | 'boolean' | 'number' | 'text' | 'list';
  /** What is written there, in words. */
  readonly type: string;
  readonly description: string;
  /** As it is written; undefined: none. */
  readonly default: unknown;
  /** As it is written. */
  readonly example: unknown;
  readonly isRequired: boolean;
  /** Of a section. */
  readonly keys: readonly ConfigKey[];
  /** Of a list of rules: the keys of each kind. */
  readonly rules: readonly (readonly ConfigKey[])[];
}

/** @param schema of the whole file */
export function keysOf(schema: z.ZodType, path: readonly string[] = []): ConfigKey[] {
  const { inner } = unwrap(schema);
  if (!(inner instanceof z.ZodObject)) throw new TypeError(`${path.join('.')} is no section`);
  return Object.entries(inner.shape).map(([name, each]) => keyOf(each as z.ZodType, [...path, name]));
}

/** All of them, those in sections and rules included; those that hold others come before them. */
export function flattened(keys: readonly ConfigKey[]): ConfigKey[] {
  return keys.flatMap((key) => [key, ...flattened(key.keys), ...key.rules.flatMap(flattened)]);
}

function keyOf(schema: z.ZodType, path: readonly string[]): ConfigKey {
  const { inner, facts, written, isRequired } = unwrap(schema);
  const common = {
    path,
    description: facts.description ?? '',
    default: written,
    example: facts.examples?.[0],
    isRequired,
    keys: [],
    rules: [],
  };
  if (inner instanceof z.ZodObject) {
    return { ...common, default: undefined, kind: 'section', type: 'section', keys: keysOf(inner, path) };
  }
  if (inner instanceof z.ZodRecord) {
    const keys = keysOf(inner.valueType as z.ZodType, [...path, 'NAME']);
    return { ...common, default: undefined, kind: 'named sections', type: 'a section for each name', keys };
  }
  if (inner instanceof z.ZodArray) {
    const { inner: element } = unwrap(inner.element as z.ZodType);
    if (element instanceof z.ZodDiscriminatedUnion) {
      const rules = element.options.map((option) => keysOf(option as unknown as z.ZodType, path));
      return { ...common, kind: 'rules', type: 'list of rules', rules };
    }
    return { ...common, kind: 'list', type: `list: ${typeOf(inner.element as z.ZodType)}` };
  }
  const kind = inner instanceof z.ZodBoolean ? 'boolean' : inner instanceof z.ZodNumber ? 'number' : 'text';
  // The one word that a rule is told from others by.
  const example = inner instanceof z.ZodLiteral ? inner.value : common.example;
  return { ...common, example, kind, type: typeOf(schema) };
}

function typeOf(schema: z.ZodType): string {
  const { inner, facts } = unwrap(schema);
  if (facts.title !== undefined) return facts.title;
  if (inner instanceof z.ZodBoolean) return 'true or false';
  if (inner instanceof z.ZodNumber) return 'number';
  if (inner instanceof z.ZodEnum) return inner.options.join(' | ');
  if (inner instanceof z.ZodLiteral) return String(inner.value);
  return 'text';
}

interface Facts {
  readonly title?: string;
  readonly description?: string;
  readonly examples?: readonly unknown[];
}

/** Looks through defaults and transformations at what is written. What is said further outside counts more. */
function unwrap(schema: z.ZodType): { inner: z.ZodType; facts: Facts; written: unknown; isRequired: boolean } {
  let inner = schema;
  let facts: Facts = {};
  let written: unknown;
  let isRequired = true;
  for (;;) {
    facts = { ...(inner.meta() as Facts | undefined), ...facts };
    if (inner instanceof z.ZodPipe) {
      inner = inner.def.in as z.ZodType;
    } else if (inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault) {
      written = inner.def.defaultValue;
      isRequired = false;
      inner = inner.def.innerType as z.ZodType;
    } else if (inner instanceof z.ZodOptional) {
      isRequired = false;
      inner = inner.def.innerType as z.ZodType;
    } else {
      return { inner, facts, written, isRequired };
    }
  }
}
