/**
 * Patterns with `*` (any characters, also none) and `?` (one character), as AWS policies have them for actions and
 * resources: whether one admits all that another admits, and whether they have anything in common. Decided on the patterns
 * alone, without a list of what there is.
 *
 * A pattern is taken as a whole, across the colons of an ARN.
 */
import { limits } from '../../limits.ts';

/**
 * What stands in a pattern, one character at a time: a code point, or one of the following. The characters of a policy
 * variable's name are code points too, raised above all others, and the first of them higher still.
 */
type Token = number;

const ONE = -1;
const MANY = -2;
/** A character that stands in no pattern. */
const OTHER = -3;
const RAISED = 0x110000;

export interface Wildcard {
  /** As it was written. */
  readonly text: string;
  readonly tokens: readonly Token[];
  /** The same with any characters, also none, for each policy variable: what it may turn out to be. */
  readonly wide: readonly Token[];
  readonly isLiteral: boolean;
}

export interface WildcardOptions {
  /** Upper and lower case are the same, as in actions. */
  readonly ignoreCase?: boolean;
}

/** `${*}`, `${?}` and `${$}` are the characters themselves; what other variables stand for is not known here. */
const PIECES = /\$\{([*?$])\}|(\$\{[^}]*\})|([\s\S])/gu;

/** Behind the last `}` no variable ends, and each `${` would be looked for its end in vain. */
function* piecesOf(text: string) {
  const end = text.lastIndexOf('}') + 1;
  yield* text.slice(0, end).matchAll(PIECES);
  for (const character of text.slice(end)) yield [character, undefined, undefined, character] as const;
}

export function wildcard(text: string, { ignoreCase = false }: WildcardOptions = {}): Wildcard {
  const tokens = tokensOf(text, { ignoreCase, isWide: false });
  const wide = text.includes('${') ? tokensOf(text, { ignoreCase, isWide: true }) : tokens;
  return { text, tokens, wide, isLiteral: tokens.every((token) => token >= 0) };
}

function tokensOf(text: string, { ignoreCase, isWide }: { ignoreCase: boolean; isWide: boolean }): Token[] {
  const tokens: Token[] = [];
  let one = 0;
  let many = false;
  // `*?*` admits what `?*` admits: of neighbours, the single ones stand first.
  const flush = () => {
    for (; one > 0; one -= 1) tokens.push(ONE);
    if (many) tokens.push(MANY);
    many = false;
  };
  for (const [, escaped, variable, character = ''] of piecesOf(text)) {
    if (character === '*' || (isWide && variable !== undefined)) many = true;
    else if (character === '?') one += 1;
    else {
      flush();
      const literal = escaped ?? variable ?? character;
      let raise = variable === undefined ? 0 : 2 * RAISED;
      for (const each of ignoreCase ? literal.toLowerCase() : literal) {
        tokens.push((each.codePointAt(0) ?? 0) + raise);
        raise = Math.min(raise, RAISED);
      }
    }
  }
  flush();
  return tokens;
}

/** How much may still be spent on comparisons. Patterns made for that could take hours. */
export interface Effort {
  left: number;
}

/** For one comparison of two policies, or one lint. */
export function newEffort(): Effort {
  return { left: limits.policy.effort };
}

/**
 * True if every text that `inner` admits is admitted by `outer`, whatever policy variables stand for: a variable of `inner`
 * lies within `*` or the same variable only. Once all effort is spent, the answer is no.
 */
export function includes(outer: Wildcard, inner: Wildcard, effort: Effort): boolean {
  effort.left -= lookingAt(outer);
  if (outer.tokens.length === 1 && outer.tokens[0] === MANY) return true;
  if (effort.left < 0) return false;
  if (outer.isLiteral) return inner.isLiteral && isSame(outer.tokens, inner.tokens);
  if (!hasSameEnds(outer.tokens, inner.tokens)) return false;
  const letters = [...new Set(outer.tokens.filter((token) => token >= 0 && token < RAISED)), OTHER];
  return new Walk(outer.tokens, inner.tokens, letters).isIncluded(effort);
}

/** A look at two patterns costs the more the longer they are. */
function lookingAt({ tokens }: Wildcard): number {
  return 1 + Math.floor(tokens.length / 64);
}

/** What `outer` demands at its beginning and its end, `inner` must have there. */
function hasSameEnds(outer: readonly Token[], inner: readonly Token[]): boolean {
  for (let at = 0; (outer[at] ?? MANY) >= 0; at += 1) if (outer[at] !== inner[at]) return false;
  for (let at = -1; (outer.at(at) ?? MANY) >= 0; at -= 1) if (outer.at(at) !== inner.at(at)) return false;
  return true;
}

function isSame(a: readonly Token[], b: readonly Token[]): boolean {
  return a.length === b.length && a.every((token, index) => token === b[index]);
}

/**
 * Goes through `inner` with all places of `outer` at which the same text may have led to, as automata theory has it. From
 * the last `*` that was reached everything can be reached that could be from places before it, so these are let go, and
 * few are left.
 */
class Walk {
  readonly #outer: readonly Token[];
  readonly #inner: readonly Token[];
  /** One for each that makes a difference. */
  readonly #letters: readonly Token[];
  readonly #seen = new Set<string>();
  readonly #left: { readonly at: number; readonly places: readonly number[] }[] = [];

  constructor(outer: readonly Token[], inner: readonly Token[], letters: readonly Token[]) {
    this.#outer = outer;
    this.#inner = inner;
    this.#letters = letters;
  }

  isIncluded(effort: Effort): boolean {
    this.#add(0, this.#settled(new Set([0])));
    for (let next = this.#left.pop(); next !== undefined; next = this.#left.pop()) {
      const { at, places } = next;
      effort.left -= 1 + places.length;
      if (places.length === 0 || effort.left < 0) return false;
      const token = this.#inner[at];
      if (token === undefined) {
        if (!places.includes(this.#outer.length)) return false;
      } else if (token === MANY) {
        this.#add(at + 1, places);
        for (const letter of this.#letters) this.#add(at, this.#step(places, letter));
      } else if (token === ONE) {
        for (const letter of this.#letters) this.#add(at + 1, this.#step(places, letter));
      } else {
        this.#add(at + 1, this.#step(places, token));
      }
    }
    return true;
  }

  #add(at: number, places: readonly number[]): void {
    const key = `${at}:${places.join()}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    this.#left.push({ at, places });
  }

  #step(places: readonly number[], letter: Token): number[] {
    const next = new Set<number>();
    for (const place of places) {
      const token = this.#outer[place];
      if (token === MANY) next.add(place);
      else if ((token === ONE && letter < RAISED) || token === letter) next.add(place + 1);
    }
    return this.#settled(next);
  }

  /** With the places that need no text to be reached, from the last `*` on. */
  #settled(places: Set<number>): number[] {
    let star = -1;
    for (const place of places) {
      if (this.#outer[place] !== MANY) continue;
      places.add(place + 1); // a set is gone through with what is added to it
      star = Math.max(star, place);
    }
    return [...places].filter((place) => place >= star).sort((a, b) => a - b);
  }
}

/**
 * True if there is a text that both admit, for some meaning of the policy variables in them. Once all effort is spent, the
 * answer is yes.
 */
export function overlaps(first: Wildcard, second: Wildcard, effort: Effort): boolean {
  const [a, b] = [first.wide, second.wide];
  effort.left -= lookingAt(first);
  if (effort.left < 0) return true;
  if (isFixed(first) && isFixed(second)) return isSame(a, b);
  // Which places of `b` can be reached together with the place of `a` that is looked at.
  let places = new Set([0]);
  for (let at = 0; ; at += 1) {
    const token = a[at];
    effort.left -= places.size;
    if (effort.left < 0) return true;
    for (const place of places) {
      if (b[place] === MANY || (token === MANY && place < b.length)) places.add(place + 1);
    }
    if (token === undefined) return places.has(b.length);
    const next = new Set<number>();
    for (const place of places) {
      const other = b[place];
      if (token === MANY || other === MANY) next.add(place);
      else if (other !== undefined && (token === ONE || other === ONE || token === other)) next.add(place + 1);
    }
    places = next;
    if (places.size === 0) return false;
  }
}

/** It admits one text, and that is known. */
function isFixed({ isLiteral, tokens, wide }: Wildcard): boolean {
  return isLiteral && wide === tokens;
}
