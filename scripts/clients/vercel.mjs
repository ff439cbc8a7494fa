// Probe: the Vercel AI SDK, whose base URL includes /v1.
import { createAnthropic } from '@ai-sdk/anthropic';
import { APICallError, generateText, streamText } from 'ai';
import {
  check, expect, expectTooLong, versionOf, MAX_TOKENS, MODEL, QUESTION, TOO_LONG,
} from './checks.mjs';

const anthropic = createAnthropic({ baseURL: `${process.env.ANTHROPIC_BASE_URL}/v1` });
const asking = (prompt) => (
  { model: anthropic(MODEL), maxOutputTokens: MAX_TOKENS, maxRetries: 0, prompt });

await check('version', () => `${versionOf('ai')} (${versionOf('@ai-sdk/anthropic')})`);

await check('text', async () => {
  const { text, usage } = await generateText(asking(QUESTION));
  expect(text && usage.outputTokens > 0, JSON.stringify(usage));
  return text;
});

await check('stream', async () => {
  const pieces = [];
  let failure;  // the text just ends when something fails
  const onError = ({ error }) => { failure = error; };
  const { textStream } = streamText({ ...asking(QUESTION), onError });
  for await (const piece of textStream) pieces.push(piece);
  if (failure) throw failure;
  expect(pieces.length > 1, 'it came in one piece');
  return `${pieces.length} pieces`;
});

await check('error', async () => {
  const error = await generateText(asking(TOO_LONG)).catch((refused) => refused);
  expect(APICallError.isInstance(error) && error.statusCode === 400, String(error));
  return expectTooLong(error.name, error);
});
