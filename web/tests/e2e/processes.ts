// The programs that a test starts. Each writes to a log file, and none outlives the test runner.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from '@playwright/test';

const running = new Set<ChildProcess>();

// The last resort, for when the test runner exits before a test has stopped its programs.
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class Program {
  readonly name: string;
  readonly #logFile: string;
  readonly #child: ChildProcess;

  constructor(name: string, path: string, args: readonly string[], env: Record<string, string>, dir: string) {
    this.name = name;
    this.#logFile = join(dir, `${name}.log`);
    const file = openSync(this.#logFile, 'w');
    this.#child = spawn(path, args, { env: { ...process.env, ...env }, stdio: ['ignore', file, file] });
    // The missing pid below reports the failure too. Without a listener, this event would end the test runner.
    this.#child.on('error', () => undefined);
    if (this.#child.pid === undefined) throw new Error(`cannot start ${path}: does it exist, and is it built?`);
    running.add(this.#child);
    this.#child.on('exit', () => running.delete(this.#child));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Returns the log so far. */
  log(): string {
    return readFileSync(this.#logFile, 'utf8');
  }

  /** Waits for a log line that matches, and returns the match. */
  async waitForLog(pattern: RegExp): Promise<RegExpExecArray> {
    return await until(`${this.name} logs ${pattern}`, () => {
      if (this.#child.exitCode !== null) throw new Error(`${this.name} exited:\n${this.log()}`);
      return pattern.exec(this.log()) ?? undefined;
    });
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill(signal);
    await ended;
  }
}

/** Calls `poll` until it returns a value, and returns the value. */
export async function until<T>(what: string, poll: () => T | undefined | Promise<T | undefined>): Promise<T> {
  let found: T | undefined;
  await expect
    .poll(async () => (found = await poll()) !== undefined, {
      message: what,
      timeout: 60_000,
      intervals: [20, 50, 100],
    })
    .toBe(true);
  return found as T;
}
