// One line of JSON for each check that a probe makes, for client_matrix.py to read.
import { readFileSync } from 'node:fs';

export const QUESTION = 'What is a token?';
export const TOO_LONG = 'word '.repeat(20_000);  // more than any context that the matrix is run on
export const MODEL = 'claude-sonnet-4-6';
export const MAX_TOKENS = 64;

/** Run `probe`. What it returns is shown; what it throws has failed. */
export async function check(name, probe) {
  let ok = true, detail;
  try {
    detail = String(await probe());
  } catch (error) {
    ok = false;
    detail = String(error);
  }
  console.log(JSON.stringify({ check: name, ok, detail }));
}

export function expect(condition, what) {
  if (!condition) throw new Error(what);
}

/** The client's own exception has the server's text, which agents compact on. */
export function expectTooLong(name, error) {
  const text = error.message.match(/prompt is too long: \d+ tokens > \d+ maximum/);
  expect(text, String(error));
  return `${name}, ${text[0]}`;
}

/** Name and version of an installed package. */
export function versionOf(name) {
  const path = new URL(`node_modules/${name}/package.json`, import.meta.url);
  return `${name} ${JSON.parse(readFileSync(path, 'utf8')).version}`;
}
