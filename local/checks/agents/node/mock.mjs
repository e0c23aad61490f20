// A model in the form of the AI SDK, of which Mastra takes models too.
const usage = { inputTokens: { total: 1 }, outputTokens: { total: 1 } };

// generate is doGenerate of a mock that takes the turns of a Model.
export function generate(model) {
  return async ({ tools, prompt }) => {
    const offered = tools.map((t) => ({ name: t.name, description: t.description, schema: t.inputSchema }));
    const call = model.turn(offered, prompt.findLast((m) => m.role === 'tool')?.content[0].output);
    const content = call
      ? { type: 'tool-call', toolCallId: call.id, toolName: call.name, input: JSON.stringify(call.args) }
      : { type: 'text', text: 'done' };
    return { content: [content], finishReason: { unified: call ? 'tool-calls' : 'stop' }, usage, warnings: [] };
  };
}
