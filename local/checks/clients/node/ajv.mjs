// Reads lines of {"schema": …, "values": […]} and answers each with the list of which values fit, by ajv in its strict mode.
import { createInterface } from 'node:readline';
import Ajv from 'ajv/dist/2020.js';
import formats from 'ajv-formats';

const ajv = formats(new Ajv.default({ strict: true, allErrors: true }), ['date-time', 'uri-reference']);
for await (const line of createInterface({ input: process.stdin })) {
  const { schema, values } = JSON.parse(line);
  const fits = ajv.compile(schema);
  console.log(JSON.stringify(values.map((v) => fits(v))));
}
