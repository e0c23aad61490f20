// @llamaindex/tools with @llamaindex/workflow's agent
import { ToolCallLLM } from '@llamaindex/core/llms';
import { mcp } from '@llamaindex/tools';
import { agent } from '@llamaindex/workflow';
import { show } from './show.mjs';

class FakeLLM extends ToolCallLLM {
  supportToolCall = true;
  metadata = { model: 'fake', temperature: 0, topP: 1, contextWindow: 10_000, tokenizer: undefined, structuredOutput: false };

  constructor(model) {
    super();
    this.turns = model;
  }

  async chat({ tools, messages }) {
    const offered = tools.map(({ metadata: t }) => ({ name: t.name, description: t.description, schema: t.parameters }));
    const result = messages.findLast((m) => m.options && 'toolResult' in m.options)?.options.toolResult;
    const call = this.turns.turn(offered, result && { result: result.result, isError: result.isError });
    const options = call ? { toolCall: [{ id: call.id, name: call.name, input: call.args }] } : {};
    const answer = { message: { role: 'assistant', content: call ? '' : 'done', options }, raw: null };
    return async function* () {
      yield { delta: answer.message.content, options, raw: null };
    }();
  }
}

await show(async (url) => {
  const client = mcp({ url });
  return {
    async ask(model, signal) {
      const a = agent({ llm: new FakeLLM(model), tools: await client.tools() });
      const context = a.runStream('go', { signal });
      for await (const _ of context) {
        signal.throwIfAborted();
      }
    },
    close: () => client.cleanup(),
  };
});
