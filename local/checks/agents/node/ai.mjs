// ai with @ai-sdk/mcp
import { createMCPClient } from '@ai-sdk/mcp';
import { generateText, isStepCount } from 'ai';
import { MockLanguageModelV4 } from 'ai/test';
import { show } from './show.mjs';

const usage = { inputTokens: { total: 1 }, outputTokens: { total: 1 } };

await show(async (url) => {
  const client = await createMCPClient({ transport: { type: 'http', url } });
  return {
    async ask(model, abortSignal) {
      const language = new MockLanguageModelV4({
        doGenerate: async ({ tools, prompt }) => {
          const offered = tools.map((t) => ({ name: t.name, description: t.description, schema: t.inputSchema }));
          const call = model.turn(offered, prompt.find((m) => m.role === 'tool')?.content[0].output);
          return call
            ? { content: [{ type: 'tool-call', toolCallId: call.id, toolName: call.name, input: JSON.stringify(call.args) }], finishReason: { unified: 'tool-calls' }, usage, warnings: [] }
            : { content: [{ type: 'text', text: 'done' }], finishReason: { unified: 'stop' }, usage, warnings: [] };
        },
      });
      await generateText({ model: language, tools: await client.tools(), prompt: 'go', stopWhen: isStepCount(3), abortSignal, maxRetries: 0 });
    },
    close: () => client.close(),
  };
});
