// Programs that a test starts: each writes into a log, and none is left when the test ends, however it does.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from '@playwright/test';

const running = new Set<ChildProcess>();

// The last resort: when the test runner itself ends before a test has stopped what it started.
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class Program {
  readonly name: string;
  readonly #log: string;
  readonly #child: ChildProcess;

  constructor(name: string, path: string, args: readonly string[], env: Record<string, string>, dir: string) {
    this.name = name;
    this.#log = join(dir, `${name}.log`);
    const log = openSync(this.#log, 'w');
    this.#child = spawn(path, args, { env: { ...process.env, ...env }, stdio: ['ignore', log, log] });
    // Told here as well as by the missing id; unheard, it would end the test runner.
    this.#child.on('error', () => undefined);
    if (this.#child.pid === undefined) throw new Error(`cannot start ${path}: is it there, and built?`);
    running.add(this.#child);
    this.#child.on('exit', () => running.delete(this.#child));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** What it has said so far. */
  said(): string {
    return readFileSync(this.#log, 'utf8');
  }

  /** Waits until it says something like this, and gives what matched. */
  async says(pattern: RegExp): Promise<RegExpExecArray> {
    return await until(`${this.name} says ${pattern}`, () => {
      if (this.#child.exitCode !== null) throw new Error(`${this.name} has ended:\n${this.said()}`);
      return pattern.exec(this.said()) ?? undefined;
    });
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill(signal);
    await ended;
  }
}

/** Waits until there is something. */
export async function until<T>(what: string, look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  let found: T | undefined;
  await expect
    .poll(async () => (found = await look()) !== undefined, {
      message: what,
      timeout: 60_000,
      intervals: [20, 50, 100],
    })
    .toBe(true);
  return found as T;
}
