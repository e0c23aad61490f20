// A chat model in LangChain's form.
import { BaseChatModel } from '@langchain/core/language_models/chat_models';
import { AIMessage } from '@langchain/core/messages';
import { convertToOpenAITool } from '@langchain/core/utils/function_calling';

export class FakeChat extends BaseChatModel {
  constructor(model) {
    super({ maxRetries: 0 });
    this.turns = model;
  }

  _llmType() {
    return 'fake';
  }

  bindTools(tools) {
    return this.withConfig({ tools: tools.map((t) => convertToOpenAITool(t)) }); // as LangChain's models of OpenAI do
  }

  async _generate(messages, options) {
    const offered = options.tools.map(({ function: f }) => ({ name: f.name, description: f.description, schema: f.parameters }));
    const result = messages.findLast((m) => m.getType() === 'tool');
    const call = this.turns.turn(offered, result && { content: result.content, status: result.status });
    const message = call ? new AIMessage({ content: '', tool_calls: [{ ...call, type: 'tool_call' }] }) : new AIMessage('done');
    return { generations: [{ text: '', message }] };
  }
}
