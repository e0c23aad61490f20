// What each agent is put through. It prints what the agent's model was given, one line of JSON for each scenario:
//
//   node FRAMEWORK.mjs URL
//
// After the line {"scenario":"restart"} it waits for a line on its standard input, for the time in which the server is replaced.
import { createInterface } from 'node:readline';

// A Model is the fake one of one question: its first turn calls a tool, and its next says that it is done. Each framework's script
// puts it into the framework's own form.
export class Model {
  static #calls = 0;

  id = `call_${++Model.#calls}`; // of the call
  offered; // [{name, description, schema}], as the framework offers the tools
  given; // the tool's result, as it reaches the model
  #tool;
  #args;

  constructor(tool, args) {
    this.#tool = tool;
    this.#args = args;
  }

  // turn returns the call to make, or null for the end. given is the result in the conversation so far.
  turn(offered, given) {
    this.offered ??= offered;
    if (given !== undefined) {
      this.given = given;
      return null;
    }
    const tool = offered.find((t) => t.name.match(/[a-z]+$/)[0] === this.#tool); // frameworks put the server's name before it
    if (!tool) {
      throw new Error(`${this.#tool} is not among the tools that the model is offered`);
    }
    return { id: this.id, name: tool.name, args: this.#args };
  }
}

const text = (value) => (typeof value === 'string' ? value : JSON.stringify(value));
const say = (line) => console.log(JSON.stringify(line));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// running is how many calls of wait the server says are running.
async function running(url) {
  const message = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'waiting', arguments: {} } };
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Accept: 'application/json, text/event-stream' },
    body: JSON.stringify(message),
  });
  return (await answer.json()).result.structuredContent.running;
}

// within waits until so many calls of wait run, and returns after how many milliseconds they did, or null.
async function within(ms, url, count) {
  const begin = Date.now();
  while (Date.now() - begin < ms) {
    if ((await running(url)) === count) {
      return Date.now() - begin;
    }
    await sleep(20);
  }
  return null;
}

// show puts an agent through all scenarios. open connects to the server at a URL, and returns ask, which runs the agent once with a
// Model until it ends or the signal aborts it, and close.
export async function show(open) {
  const url = process.argv[2];
  const agent = await open(url);

  async function given(scenario, tool, args) {
    const model = new Model(tool, args);
    const line = { scenario };
    try {
      await agent.ask(model, AbortSignal.timeout(30_000));
    } catch (e) {
      line.thrown = message(e);
    }
    if (scenario === 'listed') {
      line.tools = model.offered;
    } else if (model.given !== undefined) {
      line.given = text(model.given);
    }
    say(line);
  }

  await given('listed', 'add', { a: 1, b: 1 });
  await given('called', 'add', { a: 2, b: 3 });
  await given('text', 'rare', {});
  await given('refused', 'rare', {});
  await given('failed', 'fail', {});

  const abort = new AbortController();
  const model = new Model('wait', {});
  const line = { scenario: 'cancelled' };
  const asked = agent.ask(model, abort.signal).then(
    () => 'the run ends as if it were done',
    (e) => `the run throws ${message(e)}`,
  );
  if ((await within(10_000, url, 1)) === null) {
    line.thrown = 'the call does not reach the server';
  } else {
    abort.abort();
    [line.endedAfter, line.thrown] = await Promise.all([
      within(2_000, url, 0),
      Promise.race([asked, sleep(2_000).then(() => 'the run goes on')]),
    ]);
  }
  if (model.given !== undefined) {
    line.given = text(model.given);
  }
  say(line);

  say({ scenario: 'restart' });
  const lines = createInterface({ input: process.stdin });
  await new Promise((resolve) => lines.once('line', resolve));
  lines.close();
  await given('restarted', 'add', { a: 20, b: 22 });

  await agent.close();
  process.exit(0); // some keep timers and sockets
}

const message = (e) => `${e?.name}: ${e?.message}`;
