// @mastra/mcp with @mastra/core's agent
import { Agent } from '@mastra/core/agent';
import { MCPClient } from '@mastra/mcp';
import { MockLanguageModelV3 } from 'ai/test';
import { generate } from './mock.mjs';
import { show } from './show.mjs';

await show(async (url) => {
  const client = new MCPClient({ servers: { erlmcp: { url: new URL(url) } } });
  return {
    async ask(model, abortSignal) {
      const language = new MockLanguageModelV3({ doGenerate: generate(model) });
      const agent = new Agent({ id: 'agent', name: 'agent', instructions: 'go', model: language, tools: await client.listTools() });
      await agent.generate('go', { abortSignal, maxSteps: 3 });
    },
    close: () => client.disconnect(),
  };
});
