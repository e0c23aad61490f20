// genkit with @genkit-ai/mcp
import { createMcpHost } from '@genkit-ai/mcp';
import { genkit } from 'genkit';
import { show } from './show.mjs';

await show(async (url) => {
  const ai = genkit({});
  const host = createMcpHost({ name: 'agent', mcpServers: { erlmcp: { url } } });
  let asked = 0;
  return {
    async ask(model, abortSignal) {
      const name = `fake-${++asked}`;
      ai.defineModel({ name, supports: { tools: true } }, async ({ tools, messages }) => {
        const offered = tools.map((t) => ({ name: t.name, description: t.description, schema: t.inputSchema }));
        const call = model.turn(offered, messages.findLast((m) => m.role === 'tool')?.content[0].toolResponse.output);
        const content = [call ? { toolRequest: { name: call.name, ref: call.id, input: call.args } } : { text: 'done' }];
        return { message: { role: 'model', content }, finishReason: 'stop' };
      });
      await ai.generate({ model: name, prompt: 'go', tools: await host.getActiveTools(ai), abortSignal });
    },
    close: () => host.close(),
  };
});
