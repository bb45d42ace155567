/** What accelerate() did to a model, call by call: a restore() undoes its own call and those that came after it. */

export interface Change {
  /** Throws if it cannot be undone. Nothing is changed here. */
  check(): void;
  undo(): void | Promise<void>;
  /** Does `undo` bring everything back, what later changes did as well? */
  readonly isWhole?: boolean;
}

const stacks = /* @__PURE__ */ new WeakMap<object, Change[]>();

export const changesOf = (model: object): readonly Change[] => stacks.get(model) ?? [];

export function addChange(model: object, change: Change): void {
  const stack = stacks.get(model);
  if (stack) stack.push(change);
  else stacks.set(model, [change]);
}

export const forgetChanges = (model: object): void => void stacks.delete(model);

/** Twice is fine. */
export async function undoFrom(model: object, change: Change): Promise<void> {
  const stack = stacks.get(model) ?? [];
  const at = stack.indexOf(change);
  if (at < 0) return;
  const pending = change.isWhole ? [change] : stack.slice(at).reverse();
  for (const one of pending) one.check();
  for (const one of pending) {
    await one.undo();
    stack.splice(stack.indexOf(one));
  }
}
