// The APIs of model providers on loopback, as far as an agent needs them: each answers a request with the turn of a Model, of which
// there is one at a time.
import { createServer } from 'node:http';

// loopback serves answer, which gets each request and its decoded body, and returns its URL.
async function loopback(answer) {
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) {
      body += chunk;
    }
    try {
      const { type, text } = await answer(request, body === '' ? {} : JSON.parse(body));
      response.writeHead(200, { 'Content-Type': type }).end(text);
    } catch (e) {
      const error = { type: 'error', error: { type: 'invalid_request_error', message: e.message } };
      response.writeHead(400, { 'Content-Type': 'application/json' }).end(JSON.stringify(error));
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  server.unref();
  return `http://127.0.0.1:${server.address().port}`;
}

// anthropic plays the Messages API. model returns the Model that is asked now; mine tells which of the tools are the server's.
export function anthropic(model, mine = () => true) {
  return loopback((request, body) => {
    if (!request.url.startsWith('/v1/messages') || request.url.includes('count_tokens')) {
      return { type: 'application/json', text: '{"input_tokens":1}' };
    }
    const offered = (body.tools ?? [])
      .filter((t) => mine(t.name))
      .map((t) => ({ name: t.name, description: t.description, schema: t.input_schema }));
    const results = body.messages.flatMap((m) => (Array.isArray(m.content) ? m.content : [])).filter((c) => c.type === 'tool_result');
    const { content, is_error } = results.find((c) => c.tool_use_id === model().id) ?? {};
    const call = model().turn(offered, content && { content, is_error });
    const block = call ? { type: 'tool_use', id: call.id, name: call.name, input: call.args } : { type: 'text', text: 'done' };
    const stop_reason = call ? 'tool_use' : 'end_turn';
    const usage = { input_tokens: 1, output_tokens: 1 };
    const rest = { stop_reason: null, stop_sequence: null, usage };
    const message = { id: 'msg_1', type: 'message', role: 'assistant', model: body.model, content: [], ...rest };
    if (!body.stream) {
      return { type: 'application/json', text: JSON.stringify({ ...message, content: [block], stop_reason }) };
    }
    const empty = call ? { ...block, input: {} } : { type: 'text', text: '' };
    const delta = call ? { type: 'input_json_delta', partial_json: JSON.stringify(call.args) } : { type: 'text_delta', text: 'done' };
    const events = [
      { type: 'message_start', message },
      { type: 'content_block_start', index: 0, content_block: empty },
      { type: 'content_block_delta', index: 0, delta },
      { type: 'content_block_stop', index: 0 },
      { type: 'message_delta', delta: { stop_reason, stop_sequence: null }, usage: { output_tokens: 1 } },
      { type: 'message_stop' },
    ];
    return { type: 'text/event-stream', text: events.map((e) => `event: ${e.type}\ndata: ${JSON.stringify(e)}\n\n`).join('') };
  });
}

// gemini plays generateContent.
export function gemini(model) {
  return loopback((_, body) => {
    const offered = body.tools
      .flatMap((t) => t.functionDeclarations)
      .map((t) => ({ name: t.name, description: t.description, schema: t.parameters ?? t.parametersJsonSchema }));
    const result = body.contents.flatMap((c) => c.parts).findLast((p) => p.functionResponse)?.functionResponse.response;
    const call = model().turn(offered, result);
    const parts = [call ? { functionCall: { name: call.name, args: call.args } } : { text: 'done' }];
    const candidates = [{ content: { role: 'model', parts }, finishReason: 'STOP' }];
    return { type: 'application/json', text: JSON.stringify({ candidates }) };
  });
}
