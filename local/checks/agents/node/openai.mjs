// @openai/agents
import { Agent, MCPServerStreamableHttp, Runner, Usage } from '@openai/agents';
import { show } from './show.mjs';

await show(async (url) => {
  const server = new MCPServerStreamableHttp({ url, name: 'erlmcp' });
  await server.connect();
  const runner = new Runner({ tracingDisabled: true });
  return {
    async ask(model, signal) {
      const language = {
        async getResponse({ tools, input }) {
          const offered = tools.map((t) => ({ name: t.name, description: t.description, schema: t.parameters }));
          const result = Array.isArray(input) ? input.findLast((i) => i.type === 'function_call_result') : undefined;
          const call = model.turn(offered, result?.output);
          const output = call
            ? [{ type: 'function_call', callId: call.id, name: call.name, arguments: JSON.stringify(call.args), status: 'completed' }]
            : [{ type: 'message', role: 'assistant', status: 'completed', content: [{ type: 'output_text', text: 'done' }] }];
          return { usage: new Usage(), output };
        },
      };
      await runner.run(new Agent({ name: 'agent', model: language, mcpServers: [server] }), 'go', { signal });
    },
    close: () => server.close(),
  };
});
