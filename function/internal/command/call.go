package command

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"example.com/erlmcp/function/internal/client"
)

const callUsage = `erlmcp call calls a tool of any MCP server.

  erlmcp call [-url URL] TOOL [NAME=VALUE …]
  erlmcp call [-url URL] TOOL '{"name": "value"}'

A VALUE is read as the tool's schema says: text as it stands, numbers, true and false, lists separated by commas, and all else as JSON.
What the tool answers is printed as text; -json prints the whole result. It exits with 1 if the tool fails.

`

const toolsUsage = `erlmcp tools lists the tools of any MCP server, with their arguments as erlmcp call takes them.

  erlmcp tools [-url URL] [-json]

With -json it prints the tools as the server lists them.

`

const serverUsage = `The server is the one of -url, and else the one at PORT on this machine; what MCP_TOKEN holds is sent to it as Authorization:
Bearer. It is spoken to in revision 2026-07-28 of the protocol or an earlier one, as it can, unless -protocol names one.

`

// remote adds the flags that say which server, and returns what opens it once they are parsed.
func (p *Program) remote(flags *flag.FlagSet) (open func(context.Context) (*client.Client, error)) {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	url := flags.String("url", "http://localhost:"+port+"/mcp", "")
	protocol := flags.String("protocol", "", "")
	return func(ctx context.Context) (*client.Client, error) {
		if scheme, rest, ok := strings.Cut(*url, "://"); !ok {
			return nil, fmt.Errorf("%w: -url %q is no URL such as http://localhost:8080/mcp", errUsage, *url)
		} else if !strings.Contains(strings.TrimSuffix(rest, "/"), "/") {
			*url = scheme + "://" + strings.TrimSuffix(rest, "/") + "/mcp"
		}
		c, err := client.Open(ctx, client.Options{
			URL: *url, Token: os.Getenv("MCP_TOKEN"), Version: *protocol, Name: p.Name, Release: p.Version, Told: told,
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w%s", *url, err, hint(err))
		}
		return c, nil
	}
}

// hint says what may help.
func hint(err error) string {
	var status *client.StatusError
	if errors.As(err, &status) && status.Status == 401 {
		return "\nset MCP_TOKEN to a key or token that the server takes"
	}
	return ""
}

// told prints what a call tells while it runs.
func told(method string, params json.RawMessage) {
	var said struct {
		Progress, Total float64
		Message         string
		Data            any
	}
	json.Unmarshal(params, &said)
	switch method {
	case "notifications/progress":
		of := ""
		if said.Total > 0 {
			of = fmt.Sprintf(" of %g", said.Total)
		}
		fmt.Fprintf(os.Stderr, "%g%s %s\n", said.Progress, of, said.Message)
	case "notifications/message":
		fmt.Fprintln(os.Stderr, said.Data)
	}
}

func (p *Program) tools(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("tools", flag.ContinueOnError)
	open := p.remote(flags)
	whole := flags.Bool("json", false, "")
	if err := p.understand(flags, toolsUsage+serverUsage, args, 0); err != nil {
		return err
	}
	c, err := open(ctx)
	if err != nil {
		return err
	}
	list, err := c.Tools(ctx)
	if err != nil {
		return err
	}
	if *whole {
		all := make([]json.RawMessage, 0, len(list))
		for _, t := range list {
			all = append(all, t.Raw)
		}
		b, err := json.MarshalIndent(all, "", "  ")
		fmt.Fprintln(out, string(b))
		return err
	}
	for _, t := range list {
		fmt.Fprintln(out, strings.TrimSpace(t.Name+" "+synopsis(t.InputSchema)))
		for line := range strings.Lines(t.Description) {
			fmt.Fprintf(out, "    %s\n", strings.TrimSpace(line))
		}
	}
	return nil
}

// A property is what a schema says of an argument.
type property struct {
	Type  any
	Enum  []any
	Items *property
}

// kind is the property's type; of several the first that is not null, and "" for any.
func (p *property) kind() string {
	if p == nil {
		return ""
	}
	switch t := p.Type.(type) {
	case string:
		return t
	case []any:
		for _, one := range t {
			if one != "null" {
				text, _ := one.(string)
				return text
			}
		}
	}
	return ""
}

type object struct {
	Properties map[string]*property
	Required   []string
}

// synopsis writes arguments as the command line takes them, those that must be there first.
func synopsis(schema json.RawMessage) string {
	var o object
	json.Unmarshal(schema, &o)
	var words, optional []string
	for name, p := range o.Properties {
		word := name + "=" + p.placeholder()
		if slices.Contains(o.Required, name) {
			words = append(words, word)
		} else {
			optional = append(optional, "["+word+"]")
		}
	}
	slices.Sort(words)
	slices.Sort(optional)
	return strings.Join(append(words, optional...), " ")
}

func (p *property) placeholder() string {
	if p != nil && len(p.Enum) > 0 {
		var words []string
		for _, one := range p.Enum {
			words = append(words, fmt.Sprint(one))
		}
		return strings.Join(words, "|")
	}
	switch p.kind() {
	case "string":
		return "TEXT"
	case "integer", "number":
		return "NUMBER"
	case "boolean":
		return "true|false"
	case "array":
		one := p.Items.placeholder()
		return one + "," + one + ",…"
	}
	return "JSON"
}

// needsMore is the code of calls that want what a client has not declared.
const needsMore = -32021

func (p *Program) call(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("call", flag.ContinueOnError)
	open := p.remote(flags)
	whole := flags.Bool("json", false, "")
	flags.SetOutput(io.Discard)
	flags.Usage = func() { fmt.Fprint(out, p.text(callUsage+serverUsage)) }
	var words []string
	for rest := args; ; { // flags may stand anywhere
		if err := flags.Parse(rest); errors.Is(err, flag.ErrHelp) {
			return err
		} else if err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		if flags.NArg() == 0 {
			break
		}
		words, rest = append(words, flags.Arg(0)), flags.Args()[1:]
	}
	if len(words) == 0 {
		return fmt.Errorf("%w: which tool? erlmcp tools lists them", errUsage)
	}
	c, err := open(ctx)
	if err != nil {
		return err
	}
	list, err := c.Tools(ctx)
	if err != nil {
		return err
	}
	tool, names := &client.Tool{Name: words[0]}, []string{} // what is not listed may answer nevertheless
	for i := range list {
		if names = append(names, list[i].Name); list[i].Name == words[0] {
			tool = &list[i]
		}
	}
	arguments, err := argumentsOf(tool.InputSchema, words[1:])
	if err != nil {
		return err
	}
	result, err := c.Call(ctx, tool, arguments)
	var refused *client.Error
	switch {
	case errors.As(err, &refused) && !slices.Contains(names, words[0]):
		return fmt.Errorf("%w\nthe server lists %s", err, strings.Join(names, ", "))
	case errors.As(err, &refused) && refused.Code == needsMore:
		return fmt.Errorf("%w\nthe tool asks its user, which takes a client with an interface", err)
	case errors.As(err, &refused) && len(refused.Data) > 0:
		return fmt.Errorf("%w\n%s", err, refused.Data)
	case err != nil:
		return err
	}
	if *whole {
		fmt.Fprintf(out, "%s\n", result)
	}
	return show(out, result, *whole)
}

// argumentsOf reads the words of a command line by the tool's schema.
func argumentsOf(schema json.RawMessage, words []string) (map[string]any, error) {
	var o object
	json.Unmarshal(schema, &o) // without a schema all is text or JSON
	arguments := map[string]any{}
	for _, word := range words {
		if strings.HasPrefix(word, "{") {
			if err := json.Unmarshal([]byte(word), &arguments); err != nil {
				return nil, fmt.Errorf("%w: the arguments are no JSON object: %w", errUsage, err)
			}
			continue
		}
		name, text, ok := strings.Cut(word, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%w: %q is no argument NAME=VALUE", errUsage, word)
		}
		arguments[name] = o.Properties[name].value(text)
	}
	return arguments, nil
}

// value reads a word. What does not fit goes to the server as text, which says what is wrong with it.
func (p *property) value(text string) any {
	var v any
	switch kind := p.kind(); {
	case kind == "string":
		return text
	case kind == "array" && !strings.HasPrefix(strings.TrimSpace(text), "["):
		list := []any{}
		for one := range strings.SplitSeq(text, ",") {
			if one = strings.TrimSpace(one); one != "" {
				list = append(list, p.Items.value(one))
			}
		}
		return list
	}
	if json.Valid([]byte(text)) {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber() // as it is written
		if d.Decode(&v) == nil {
			return v
		}
	}
	return text
}

// show prints a result's text, and fails where the tool did.
func show(out io.Writer, result json.RawMessage, printed bool) error {
	var r struct {
		Content           []struct{ Type, Text, Data, MIMEType, URI, Name string }
		StructuredContent json.RawMessage
		IsError           bool
	}
	if err := json.Unmarshal(result, &r); err != nil {
		return fmt.Errorf("the server answers with %s", result)
	}
	var lines []string
	for _, c := range r.Content {
		switch c.Type {
		case "text":
			lines = append(lines, c.Text)
		case "resource_link":
			lines = append(lines, fmt.Sprintf("[%s %s]", c.Name, c.URI))
		default:
			lines = append(lines, fmt.Sprintf("[%s %s; -json prints it]", c.Type, c.MIMEType))
		}
	}
	if len(lines) == 0 && len(r.StructuredContent) > 0 {
		lines = append(lines, string(r.StructuredContent))
	}
	switch text := strings.Join(lines, "\n"); {
	case r.IsError && printed:
		return errSaid
	case r.IsError:
		return errors.New(text)
	case !printed:
		fmt.Fprintln(out, text)
	}
	return nil
}
