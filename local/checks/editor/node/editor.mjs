// Has the YAML language server check and complete files. Standard input: {schema, files: [{text, at}]}, where at is where to complete, a line and a
// character from 0. Standard output: for each file {diagnostics: [{line, message}], completions: [{label, documentation}]}, with lines from 1.
import { text } from 'node:stream/consumers'
import { TextDocument } from 'vscode-languageserver-textdocument'
import { getLanguageService } from 'yaml-language-server'

const { schema, files } = JSON.parse(await text(process.stdin))
const service = getLanguageService({
  schemaRequestService: async uri => { throw new Error(`the schema refers to ${uri}`) },
  workspaceContext: { resolveRelativePath: path => path },
})
service.configure({ validate: true, completion: true, schemas: [{ uri: 'file:///catalog.schema.json', fileMatch: ['*'], schema }] })
const answers = []
for (const [i, file] of files.entries()) {
  const document = TextDocument.create(`file:///${i}/catalog.yaml`, 'yaml', 1, file.text)
  const faults = await service.doValidation(document, false)
  const offers = file.at ? (await service.doComplete(document, file.at, false)).items : []
  answers.push({
    diagnostics: faults.map(d => ({ line: d.range.start.line + 1, message: d.message })),
    completions: offers.map(c => ({ label: c.label, documentation: c.documentation?.value ?? c.documentation ?? '' })),
  })
}
console.log(JSON.stringify(answers))
