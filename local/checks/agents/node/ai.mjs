// ai with @ai-sdk/mcp
import { createMCPClient } from '@ai-sdk/mcp';
import { generateText, isStepCount } from 'ai';
import { MockLanguageModelV4 } from 'ai/test';
import { generate } from './mock.mjs';
import { show } from './show.mjs';

await show(async (url) => {
  const client = await createMCPClient({ transport: { type: 'http', url } });
  return {
    async ask(model, abortSignal) {
      const language = new MockLanguageModelV4({ doGenerate: generate(model) });
      const tools = await client.tools();
      await generateText({ model: language, tools, prompt: 'go', stopWhen: isStepCount(3), abortSignal, maxRetries: 0 });
    },
    close: () => client.close(),
  };
});
