// Probe: the official TypeScript SDK.
import Anthropic from '@anthropic-ai/sdk';
import {
  check, expect, expectTooLong, versionOf, MAX_TOKENS, MODEL, QUESTION, TOO_LONG,
} from './checks.mjs';

const client = new Anthropic({ maxRetries: 0 });
const asking = (content) => (
  { model: MODEL, max_tokens: MAX_TOKENS, messages: [{ role: 'user', content }] });

await check('version', () => versionOf('@anthropic-ai/sdk'));

await check('text', async () => {
  const message = await client.messages.create(asking(QUESTION));
  expect(message.content[0].text && message.model === MODEL, JSON.stringify(message));
  return message.content[0].text;
});

await check('stream', async () => {
  const pieces = [];
  const stream = client.messages.stream(asking(QUESTION)).on('text', (text) => pieces.push(text));
  const message = await stream.finalMessage();
  expect(pieces.length > 1 && pieces.join('') === message.content[0].text, 'pieces differ');
  return `${pieces.length} pieces`;
});

await check('beta', async () => {
  const message = await client.beta.messages.create(asking(QUESTION));
  expect(message.content[0].text, JSON.stringify(message));
  return message.content[0].text;
});

await check('error', async () => {
  const error = await client.messages.create(asking(TOO_LONG)).catch((refused) => refused);
  expect(error instanceof Anthropic.BadRequestError, String(error));
  return expectTooLong(error.constructor.name, error);
});

await check('count', async () => {
  const { max_tokens, ...request } = asking(QUESTION);
  const { input_tokens } = await client.messages.countTokens(request);
  const message = await client.messages.create({ ...request, max_tokens: 1 });
  expect(input_tokens === message.usage.input_tokens, `${input_tokens} is not the usage`);
  return input_tokens;
});

await check('models', async () => {
  const { data } = await client.models.list();
  return (await client.models.retrieve(data[0].id)).id;
});
