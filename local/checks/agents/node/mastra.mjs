// @mastra/mcp with @mastra/core's agent
import { Agent } from '@mastra/core/agent';
import { MCPClient } from '@mastra/mcp';
import { MockLanguageModelV3 } from 'ai/test';
import { show } from './show.mjs';

const usage = { inputTokens: { total: 1 }, outputTokens: { total: 1 } };

await show(async (url) => {
  const client = new MCPClient({ servers: { erlmcp: { url: new URL(url) } } });
  return {
    async ask(model, abortSignal) {
      const language = new MockLanguageModelV3({
        doGenerate: async ({ tools, prompt }) => {
          const offered = tools.map((t) => ({ name: t.name, description: t.description, schema: t.inputSchema }));
          const call = model.turn(offered, prompt.findLast((m) => m.role === 'tool')?.content[0].output);
          return call
            ? { content: [{ type: 'tool-call', toolCallId: call.id, toolName: call.name, input: JSON.stringify(call.args) }], finishReason: { unified: 'tool-calls' }, usage, warnings: [] }
            : { content: [{ type: 'text', text: 'done' }], finishReason: { unified: 'stop' }, usage, warnings: [] };
        },
      });
      const agent = new Agent({ id: 'agent', name: 'agent', instructions: 'go', model: language, tools: await client.listTools() });
      await agent.generate('go', { abortSignal, maxSteps: 3 });
    },
    close: () => client.disconnect(),
  };
});
