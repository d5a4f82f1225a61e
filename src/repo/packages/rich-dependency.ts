/**
 * Boolean dependencies (rpm's "rich" ones): `(a or b)`, `(a >= 1 if b)`, `(a with b)`.
 * @see https://rpm-software-management.github.io/rpm/manual/boolean_dependencies.html
 */
import { limits } from '../../limits.ts';

/** A name with an optional version, as it stands in a rich dependency. */
export interface Term {
  readonly name: string;
  readonly operator: '<' | '<=' | '=' | '>=' | '>' | null;
  readonly version: string | null;
}

type Operator = 'and' | 'or' | 'if' | 'unless' | 'with' | 'without';
const OPERATORS = new Set<string>(['and', 'or', 'if', 'unless', 'with', 'without']);
const COMPARISONS = new Set<string>(['<', '<=', '=', '>=', '>']);

export type Rich =
  | { readonly type: 'term'; readonly term: Term }
  | { readonly type: Operator; readonly parts: readonly Rich[]; readonly otherwise?: Rich };

/** @returns undefined if it is none, or cannot be understood */
export function parseRich(text: string): Rich | undefined {
  const tokens = text.match(/[()]|[^\s()]+(?:\([^\s()]*\))*/g) ?? [];
  const parser = new Parser(tokens);
  const rich = text.startsWith('(') ? parser.group(0) : undefined;
  return parser.isAtEnd ? rich : undefined;
}

class Parser {
  readonly #tokens: readonly string[];
  #at = 0;

  constructor(tokens: readonly string[]) {
    this.#tokens = tokens;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#tokens.length;
  }

  group(depth: number): Rich | undefined {
    if (depth > limits.packages.richDepth || !this.#take('(')) return undefined;
    const parts: Rich[] = [];
    let type: Operator | undefined;
    let otherwise: Rich | undefined;
    for (;;) {
      const operand = this.#tokens[this.#at] === '(' ? this.group(depth + 1) : this.#term();
      if (operand === undefined) return undefined;
      if (otherwise === undefined) parts.push(operand);
      const next = this.#tokens[this.#at++];
      if (next === ')') break;
      if (next === 'else' && (type === 'if' || type === 'unless')) {
        otherwise = this.#tokens[this.#at] === '(' ? this.group(depth + 1) : this.#term();
        if (otherwise === undefined || !this.#take(')')) return undefined;
        break;
      }
      if (next === undefined || !OPERATORS.has(next) || (type !== undefined && type !== next)) return undefined;
      type = next as Operator;
    }
    const [first] = parts;
    if (type === undefined) return first;
    return { type, parts, ...(otherwise === undefined ? {} : { otherwise }) };
  }

  #term(): Rich | undefined {
    const name = this.#tokens[this.#at];
    if (name === undefined || name === '(' || name === ')' || OPERATORS.has(name)) return undefined;
    this.#at += 1;
    const operator = this.#tokens[this.#at];
    if (operator === undefined || !COMPARISONS.has(operator)) {
      return { type: 'term', term: { name, operator: null, version: null } };
    }
    const version = this.#tokens[this.#at + 1];
    if (version === undefined || version === '(' || version === ')') return undefined;
    this.#at += 2;
    return { type: 'term', term: { name, operator: operator as Term['operator'], version } };
  }

  #take(token: string): boolean {
    if (this.#tokens[this.#at] !== token) return false;
    this.#at += 1;
    return true;
  }
}

/** All names in it. */
export function termsOf(rich: Rich): Term[] {
  if (rich.type === 'term') return [rich.term];
  return [...rich.parts, ...(rich.otherwise === undefined ? [] : [rich.otherwise])].flatMap(termsOf);
}

/**
 * Whether a system in which `has` tells of each term could satisfy it. `with` and `without` ask for one package that has
 * both, or one and not the other; here any packages will do.
 */
export function isSatisfied(rich: Rich, has: (term: Term) => boolean): boolean {
  if (rich.type === 'term') return has(rich.term);
  const [first, ...rest] = rich.parts;
  if (first === undefined) return true;
  const isFirst = isSatisfied(first, has);
  switch (rich.type) {
    case 'or':
      return isFirst || rest.some((part) => isSatisfied(part, has));
    case 'if':
    case 'unless': {
      // What could be installed beside it is taken as if it were.
      const applies = rest.every((part) => isSatisfied(part, has)) === (rich.type === 'if');
      return applies ? isFirst : rich.otherwise === undefined || isSatisfied(rich.otherwise, has);
    }
    case 'without':
      return isFirst;
    default:
      return isFirst && rest.every((part) => isSatisfied(part, has));
  }
}
