import type { ArtifactFacts, MemoryBody, OpenArtifact } from './artifact-source.ts';

/** Content in memory. Nothing is open, so nothing is closed. */
export class MemoryArtifact implements OpenArtifact {
  readonly facts: ArtifactFacts;
  readonly body: MemoryBody;
  readonly headers?: readonly string[];

  constructor(facts: ArtifactFacts, body: MemoryBody, headers?: readonly string[]) {
    this.facts = facts;
    this.body = body;
    if (headers !== undefined) this.headers = headers;
  }

  async readAt(into: Uint8Array, position: number): Promise<number> {
    const part = this.body.bytes.subarray(position, position + into.byteLength);
    into.set(part);
    return part.length;
  }

  async close(): Promise<void> {}
}
