/** Something at whose end things are undone: a test, or a program that makes what tests make. */
export interface Scope {
  after(undo: () => unknown): void;
}
