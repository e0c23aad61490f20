package catalog

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/value"
)

// A Finding is that a tool, as it is listed, breaks a rule of a model's interface or a client.
type Finding struct {
	Tool, Text string
	Rule       *Rule
}

func (f Finding) String() string {
	does := "refused"
	if f.Rule.Dropped {
		does = "dropped"
	}
	return fmt.Sprintf("tool %s: %s: %s by %s, %s", f.Tool, f.Text, does, f.Rule.By, strings.Join(f.Rule.Sources, " "))
}

// A Rule is what an interface asks of tools. Where one breaks it, the request or the list that it is in is lost with all others, or each
// call of it; if the rule is of what is dropped, the model gets less than was written.
type Rule struct {
	What    string   // is asked
	By      string   // whom
	Sources []string // where that was found
	Dropped bool
	AtStart bool // a start warns of it too: each client of theirs is lost, not those alone that pass schemas on as they are

	check func(t *listed, say func(format string, args ...any))
}

// listed is a tool as clients read it.
type listed struct {
	name, description string
	place             int // in the list, from 1
	input, output     []part
}

// A part is a schema, or one within it.
type part struct {
	at     string
	is     map[string]any
	typed  bool // it says what a value is: one of an object's or a list's
	isRoot bool
}

// Lint says where models' interfaces and clients refuse or drop what is listed, in the order of the tools and of the rules.
func (c *Catalog) Lint() (out []Finding) {
	for i, name := range slices.Sorted(maps.Keys(c.tools)) {
		tool := c.tools[name]
		t := &listed{name: name, description: tool.Description, place: i + 1, input: partsOf("input", tool.shown()), output: partsOf("output", tool.Output)}
		for r := range Rules {
			Rules[r].check(t, func(format string, args ...any) {
				out = append(out, Finding{name, fmt.Sprintf(format, args...), &Rules[r]})
			})
		}
	}
	return out
}

// Sizes are the bytes that each tool has in the list.
func (c *Catalog) Sizes() map[string]int {
	sizes := map[string]int{}
	for _, item := range c.listings[mcp.Tools].Items {
		sizes[item.Key] = len(item.JSON)
	}
	return sizes
}

// normalizer is what Copilot makes of tools, so that no model refuses them.
const normalizer = "https://github.com/microsoft/vscode-copilot-chat/blob/main/src/extension/tools/common/toolSchemaNormalizer.ts"

// Rules are all of them. What clients always make good is not among them, such as additionalProperties, which Google's interface does not know.
// Models are given the input schema alone; the output schema is compiled by clients.
var Rules = []Rule{
	{What: "names of letters, digits, `_` and `-`, at most 64", By: "Anthropic and OpenAI", AtStart: true,
		Sources: []string{"https://github.com/modelcontextprotocol/typescript-sdk/issues/413", "https://github.com/microsoft/foundry-dev-tools/issues/201"},
		check: func(t *listed, say func(string, ...any)) {
			if !providersName.MatchString(t.name) {
				say("its name has other characters than letters, digits, _ and -, or more than 64 of them")
			}
		}},
	{What: "names that begin with a letter or `_`", By: "Google",
		Sources: []string{"https://github.com/SuperClaude-Org/SuperGemini_Framework/issues/12"},
		check: func(t *listed, say func(string, ...any)) {
			if strings.ContainsRune("-.0123456789", rune(t.name[0])) {
				say("its name begins with %q", t.name[:1])
			}
		}},
	{What: "names below 59 characters: 60 with the server's", By: "Cursor", Dropped: true,
		Sources: []string{"https://github.com/ComposioHQ/composio/issues/2788"},
		check: func(t *listed, say func(string, ...any)) {
			if n := len(t.name); n >= 59 {
				say("its name has %d characters, and with any server's name 60 or more", n)
			}
		}},
	{What: "at most 128 tools", By: "OpenAI", AtStart: true,
		Sources: []string{"https://github.com/anomalyco/opencode/issues/4909"},
		check: func(t *listed, say func(string, ...any)) {
			if t.place == maxTools+1 {
				say("it is one more than %d tools", maxTools)
			}
		}},
	{What: "descriptions of tools of at most 1024 characters", By: "OpenAI", AtStart: true,
		Sources: []string{"https://github.com/getsentry/sentry-mcp/issues/106"},
		check: func(t *listed, say func(string, ...any)) {
			if n := utf8.RuneCountInString(t.description); n > maxDescribed {
				say("its description has %d characters, more than %d", n, maxDescribed)
			}
		}},
	{What: "descriptions of arguments of at most 1024 characters", By: "Copilot", Dropped: true, Sources: []string{normalizer},
		check: inInput(func(p part, say func(string, ...any)) {
			text, _ := p.is["description"].(string)
			if n := utf8.RuneCountInString(text); n > maxDescribed {
				say("its description has %d characters, more than %d", n, maxDescribed)
			}
		})},
	{What: "a root without `anyOf`, `oneOf`, `allOf`, `enum`, `not`, `if`", By: "OpenAI and Anthropic", AtStart: true,
		Sources: []string{"https://github.com/nspady/google-calendar-mcp/issues/39"},
		check: inInput(func(p part, say func(string, ...any)) {
			for _, keyword := range []string{"allOf", "anyOf", "enum", "if", "not", "oneOf"} {
				if p.isRoot && p.is[keyword] != nil {
					say("its root has %s, and must be one object", keyword)
				}
			}
		})},
	{What: "names of arguments of letters, digits, `_`, `.` and `-`, at most 64", By: "Anthropic", AtStart: true,
		Sources: []string{"https://github.com/anthropics/claude-code/issues/79418"},
		check: inInput(func(p part, say func(string, ...any)) {
			of, _ := p.is["properties"].(map[string]any)
			for _, name := range slices.Sorted(maps.Keys(of)) {
				if !anthropicsArgument.MatchString(name) {
					say("the name %q has other characters than letters, digits, _, . and -, or more than 64 of them", name)
				}
			}
		})},
	{What: "a `type` for each argument and element", By: "Fireworks and Vertex AI",
		Sources: []string{"https://github.com/huggingface/chat-ui/pull/2299", "https://github.com/google-gemini/gemini-cli/issues/4400"},
		check: inInput(func(p part, say func(string, ...any)) {
			if p.typed && p.is["type"] == nil && p.is["$ref"] == nil && p.is["anyOf"] == nil && p.is["oneOf"] == nil && p.is["allOf"] == nil {
				say("it has no type")
			}
		})},
	{What: "one `type`, no list of them", By: "Google",
		Sources: []string{"https://github.com/taylorwilsdon/google_workspace_mcp/issues/1099"},
		check: inInput(func(p part, say func(string, ...any)) {
			if all, ok := p.is["type"].([]any); ok {
				say("its type is the list %v", all)
			}
		})},
	{What: "`items` for each array", By: "VS Code and OpenAI", AtStart: true,
		Sources: []string{"https://github.com/microsoft/vscode/issues/246119", "https://github.com/ogx-ai/ogx/pull/3602"},
		check: inInput(func(p part, say func(string, ...any)) {
			if isType(p, "array") && p.is["items"] == nil {
				say("it is an array and has no items")
			}
		})},
	{What: "`items` that are one schema", By: "OpenAI and Anthropic", Sources: []string{normalizer},
		check: inInput(func(p part, say func(string, ...any)) {
			if _, ok := p.is["items"].([]any); ok {
				say("its items are a list of schemas")
			}
		})},
	{What: "`required` and `properties` of objects alone, and nothing required that is not there", By: "Google",
		Sources: []string{"https://github.com/anomalyco/opencode/issues/11889"},
		check: inInput(func(p part, say func(string, ...any)) {
			of, _ := p.is["properties"].(map[string]any)
			names, _ := p.is["required"].([]any)
			object := isType(p, "object")
			if (of != nil || names != nil) && p.is["type"] != nil && !object {
				say("it has properties or required, and is no object")
			}
			for _, name := range names {
				if _, ok := of[fmt.Sprint(name)]; object && !ok {
					say("it requires %v, which is not among its properties", name)
				}
			}
		})},
	{What: "enums of texts", By: "Google", AtStart: true,
		Sources: []string{"https://github.com/microsoft/azure-devops-mcp/issues/145"},
		check: inInput(func(p part, say func(string, ...any)) {
			all, _ := p.is["enum"].([]any)
			if i := slices.IndexFunc(all, func(v any) bool { _, ok := v.(string); return !ok }); i >= 0 {
				say("its enum has %v, and must have texts alone", all[i])
			}
		})},
	{What: "the formats `date-time` and `enum`, and of numbers `float`, `double`, `int32`, `int64`", By: "Google",
		Sources: []string{"https://firebase.google.com/docs/reference/js/ai.schemashared"},
		check: inInput(func(p part, say func(string, ...any)) {
			if f, _ := p.is["format"].(string); f != "" && !slices.Contains(googlesFormats, f) {
				say("its format is %s", f)
			}
		})},
	{What: "no `const`, `examples`, `exclusiveMinimum`, `exclusiveMaximum`, `if`, `multipleOf`, `oneOf`, `allOf`, `patternProperties`, `propertyNames`, `uniqueItems`", By: "Google",
		Sources: []string{"https://github.com/pizza-bot-app/pizza-bot/issues/62", "https://github.com/AstrBotDevs/AstrBot/issues/7572", "https://github.com/zendev-sh/goai/pull/108", "https://github.com/zendev-sh/goai/pull/39"},
		check: inInput(func(p part, say func(string, ...any)) {
			for _, keyword := range unknownToGoogle {
				if p.is[keyword] != nil {
					say("it has %s", keyword)
				}
			}
		})},
	{What: "no `$ref`, so no argument that is a part of itself", By: "Google and Claude's managed agents",
		Sources: []string{"https://github.com/google-gemini/gemini-cli/issues/14945", "https://github.com/diegosouzapw/OmniRoute/issues/13552"},
		check: func(t *listed, say func(string, ...any)) {
			if i := slices.IndexFunc(t.input, func(p part) bool { return p.is["$ref"] != nil || p.is["$dynamicRef"] != nil }); i >= 0 {
				say("%s: it refers to another schema", t.input[i].at)
			}
		}},
	{What: "patterns that mean the same to Go, to JavaScript and to Python: without `(?i)`, named groups, `\\p{…}`, `\\z`, needless escapes", By: "OpenAI and clients of the TypeScript SDK",
		Sources: []string{"https://github.com/pleaseai/shunt/pull/488", "https://github.com/langchain-ai/langchainjs/issues/11351", "https://github.com/anomalyco/opencode/issues/21591"},
		check: func(t *listed, say func(string, ...any)) {
			for _, p := range slices.Concat(t.input, t.output) {
				of, _ := p.is["patternProperties"].(map[string]any)
				patterns := slices.Sorted(maps.Keys(of))
				if own, ok := p.is["pattern"].(string); ok {
					patterns = append(patterns, own)
				}
				for _, pattern := range patterns {
					if odd := unportable(pattern); odd != "" {
						say("%s: its pattern %s has %s", p.at, pattern, odd)
					}
				}
			}
		}},
	{What: "output schemas of JSON Schema 2020-12", By: "clients of the TypeScript SDK 2 such as Claude Code",
		Sources: []string{"https://github.com/anthropics/claude-code/issues/86142"},
		check: func(t *listed, say func(string, ...any)) {
			for _, p := range t.output {
				if d, ok := p.is["$schema"].(string); ok && d != "https://json-schema.org/draft/2020-12/schema" {
					say("%s: it is of %s", p.at, d)
				}
			}
		}},
}

const (
	maxTools     = 128
	maxDescribed = 1024 // characters
)

var (
	providersName      = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
	anthropicsArgument = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)
	googlesFormats     = []string{"date-time", "double", "enum", "float", "int32", "int64"}
	unknownToGoogle    = []string{"allOf", "const", "examples", "exclusiveMaximum", "exclusiveMinimum", "if", "multipleOf", "oneOf", "patternProperties", "propertyNames", "uniqueItems"}
)

// inInput checks each schema within the input schema.
func inInput(check func(p part, say func(format string, args ...any))) func(*listed, func(string, ...any)) {
	return func(t *listed, say func(string, ...any)) {
		for _, p := range t.input {
			check(p, func(format string, args ...any) { say("%s: %s", p.at, fmt.Sprintf(format, args...)) })
		}
	}
}

func isType(p part, name string) bool {
	all, _ := p.is["type"].([]any)
	return p.is["type"] == name || slices.Contains(all, any(name))
}

// partsOf are a schema as it is published and all within it.
func partsOf(what string, schema json.RawMessage) (out []part) {
	var root any
	if schema == nil || json.Unmarshal(value.Published(schema), &root) != nil {
		return nil
	}
	var within func(at string, v any, typed bool)
	within = func(at string, v any, typed bool) {
		s, ok := v.(map[string]any)
		if !ok {
			return
		}
		out = append(out, part{at: at, is: s, typed: typed, isRoot: at == what})
		for _, keyword := range slices.Sorted(maps.Keys(s)) {
			switch of := s[keyword].(type) {
			case map[string]any:
				switch keyword {
				case "properties", "patternProperties", "$defs", "definitions", "dependentSchemas":
					for _, name := range slices.Sorted(maps.Keys(of)) {
						within(at+"."+name, of[name], keyword == "properties")
					}
				case "items", "additionalProperties", "additionalItems", "contains", "propertyNames", "not", "if", "then", "else", "unevaluatedItems", "unevaluatedProperties":
					within(at+cmp.Or(map[string]string{"items": "[]"}[keyword], "("+keyword+")"), of, keyword == "items")
				}
			case []any:
				switch keyword {
				case "anyOf", "oneOf", "allOf", "prefixItems", "items":
					for i, one := range of {
						within(fmt.Sprintf("%s(%s %d)", at, keyword, i), one, keyword == "items" || keyword == "prefixItems")
					}
				}
			}
		}
	}
	within(what, root, false)
	return out
}
