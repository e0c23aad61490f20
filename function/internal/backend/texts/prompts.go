package texts

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/mcp"
)

// A prompt is a text with arguments.
type prompt struct {
	name, title, description string
	arguments                []catalog.Argument
	values                   map[string][]string // of arguments, that are proposed
	body                     string
	line                     int // that the body begins at
}

var (
	argumentName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,63}$`)
	placeholder  = regexp.MustCompile(`\{\{[ \t]*([A-Za-z_][A-Za-z0-9_-]*)[ \t]*\}\}`)
	promptName   = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
	notOfNames   = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)
)

func (d *Directory) prompts(files []file) ([]catalog.Entry, error) {
	var entries []catalog.Entry
	var faults []error
	names := map[string]string{} // and the file of each
	for _, f := range files {
		p, found := parsePrompt(f)
		for _, fault := range found {
			faults = append(faults, fmt.Errorf("%s: %w", d.place(f.path, fault.line), fault.err))
		}
		if p == nil {
			continue
		}
		if other, twice := names[p.name]; twice {
			faults = append(faults, fmt.Errorf("%s: its name is %s, as that of %s is: write another name: in its front matter", d.place(f.path, 1), p.name, other))
		}
		names[p.name] = f.path
		entries = append(entries, d.prompt(f.path, p))
	}
	return entries, errors.Join(faults...)
}

// prompt is the entry of a prompt. The arguments are those that there were; the text is what it is when it is asked for.
func (d *Directory) prompt(at string, p *prompt) *catalog.Prompt {
	return &catalog.Prompt{
		Name: d.Name + "_" + p.name, Title: p.title, Description: p.description, Arguments: p.arguments, Terms: d.entryTerms(),
		Complete: func(_ context.Context, argument, value string, _ map[string]string) ([]string, error) {
			var fit []string
			for _, v := range p.values[argument] {
				if strings.HasPrefix(strings.ToLower(v), strings.ToLower(value)) {
					fit = append(fit, v)
				}
			}
			return fit, nil
		},
		Get: func(_ context.Context, args map[string]string) (*mcp.PromptResult, error) {
			text, err := d.current(at)
			if errors.Is(err, mcp.ErrUnknown) {
				return nil, fmt.Errorf("the prompt's text is gone: %w", mcp.ErrUnavailable)
			} else if err != nil {
				return nil, err
			}
			now := &prompt{arguments: p.arguments}
			_, now.body, now.line = cutFront(text)
			if faults := now.checkBody(); len(faults) > 0 {
				return nil, fmt.Errorf("%s:%d was changed, and can't be used so: %w", at, faults[0].line, faults[0].err)
			}
			filled, err := now.fill(args)
			if err != nil {
				return nil, err
			}
			return &mcp.PromptResult{Description: p.description, Messages: []mcp.PromptMessage{{Role: "user", Content: mcp.Text(filled)}}}, nil
		},
	}
}

func cutFront(text []byte) (front []byte, body string, line int) {
	front, rest, line := split(text)
	return front, strings.TrimSpace(string(rest)), line + strings.Count(string(rest[:len(rest)-len(strings.TrimLeft(string(rest), " \t\r\n"))]), "\n")
}

// parsePrompt reads a prompt; it is nil where that would only lead to more faults.
func parsePrompt(f file) (*prompt, []lineFault) {
	ext := strings.ToLower(path.Ext(f.path))
	if ext != ".md" && ext != ".markdown" && ext != ".txt" {
		return nil, []lineFault{{1, errors.New("a prompt is a file .md or .txt: begin its name with a dot to leave it out")}}
	}
	if !utf8.Valid(f.text) {
		return nil, []lineFault{{1 + strings.Count(string(f.text[:invalidAt(f.text)]), "\n"), errors.New("it is not in UTF-8: save it so")}}
	}
	p := &prompt{name: strings.Trim(notOfNames.ReplaceAllString(strings.TrimSuffix(f.path, path.Ext(f.path)), "_"), "_"), values: map[string][]string{}}
	var front []byte
	front, p.body, p.line = cutFront(f.text)
	if front == nil {
		return nil, []lineFault{{1, errors.New("there is no front matter: begin with a line ---, a line description: and what the prompt is for, and a line ---")}}
	}
	m, fault := mapping(front)
	if fault != nil {
		return nil, []lineFault{*fault}
	}
	named := 1 // the line of the name
	var faults []lineFault
	faults = append(faults, members(m, func(key string, value *yaml.Node, line int) (err error) {
		switch key {
		case "name":
			named = line
			p.name, err = scalar(value)
		case "title":
			p.title, err = scalar(value)
		case "description":
			p.description, err = scalar(value)
		case "arguments":
			faults = append(faults, p.parseArguments(value)...)
		default:
			err = errors.New("a prompt has no such member: it has name, title, description and arguments")
		}
		return err
	})...)
	if !promptName.MatchString(p.name) {
		faults = append(faults, lineFault{named, fmt.Errorf("the name %q is not 1 to 64 letters, digits, '_', '-' and '.': write name: with another in the front matter", p.name)})
	}
	if p.description == "" {
		faults = append(faults, lineFault{1, errors.New("description: it is missing: write in the front matter what the prompt is for")})
	}
	faults = append(faults, p.checkBody()...)
	slices.SortStableFunc(faults, func(a, b lineFault) int { return a.line - b.line })
	return p, faults
}

func (p *prompt) parseArguments(list *yaml.Node) (faults []lineFault) {
	if list.Kind != yaml.SequenceNode {
		return []lineFault{{list.Line + 1, errors.New("arguments: it is a list, such as - name: who")}}
	}
	for _, n := range list.Content {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		if n.Kind != yaml.MappingNode {
			faults = append(faults, lineFault{n.Line + 1, errors.New("arguments: each is a mapping, such as - name: who")})
			continue
		}
		var a catalog.Argument
		var values []string
		faults = append(faults, members(n, func(key string, value *yaml.Node, line int) (err error) {
			switch key {
			case "name":
				a.Name, err = scalar(value)
			case "description":
				a.Description, err = scalar(value)
			case "required":
				if value.Decode(&a.Required) != nil {
					err = errors.New("it is true or false")
				}
			case "values":
				values, err = texts(value)
			default:
				err = errors.New("an argument has no such member: it has name, description, required and values")
			}
			return err
		})...)
		switch {
		case !argumentName.MatchString(a.Name):
			faults = append(faults, lineFault{n.Line + 1, fmt.Errorf("arguments: the name %q is not up to 64 letters, digits, '_' and '-' that begin with a letter", a.Name)})
		case slices.ContainsFunc(p.arguments, func(b catalog.Argument) bool { return a.Name == b.Name }):
			faults = append(faults, lineFault{n.Line + 1, fmt.Errorf("arguments: %s is written twice: remove one", a.Name)})
		default:
			p.arguments = append(p.arguments, a)
			p.values[a.Name] = values
			if !slices.ContainsFunc(placeholder.FindAllStringSubmatch(p.body, -1), func(m []string) bool { return m[1] == a.Name }) {
				faults = append(faults, lineFault{n.Line + 1, fmt.Errorf("arguments: %s is nowhere in the text: write {{%[1]s}} where its value goes, or remove it", a.Name)})
			}
		}
	}
	return faults
}

// texts returns a list of texts.
func texts(list *yaml.Node) (out []string, err error) {
	if list.Kind != yaml.SequenceNode {
		return nil, errors.New("it is a list of texts, such as [warm, formal]")
	}
	for _, n := range list.Content {
		text, err := scalar(n)
		if err != nil {
			return nil, fmt.Errorf("one of the list: %w", err)
		}
		out = append(out, text)
	}
	return out, nil
}

// checkBody returns what can't be filled in.
func (p *prompt) checkBody() (faults []lineFault) {
	if p.body == "" {
		return []lineFault{{p.line, errors.New("there is no text after the front matter: write the message")}}
	}
	for _, at := range placeholder.FindAllStringSubmatchIndex(p.body, -1) {
		name := p.body[at[2]:at[3]]
		if !slices.ContainsFunc(p.arguments, func(a catalog.Argument) bool { return a.Name == name }) {
			faults = append(faults, lineFault{p.line + strings.Count(p.body[:at[0]], "\n"),
				fmt.Errorf("%s is no argument: add - name: %s to arguments in the front matter, or write { {%[2]s} } where braces are meant", p.body[at[0]:at[1]], name)})
		}
	}
	return faults
}

// fill puts the values where the placeholders are; what is not given is left empty. Nothing in a value is taken for a placeholder.
func (p *prompt) fill(args map[string]string) (string, error) {
	var b strings.Builder
	last := 0
	for _, at := range placeholder.FindAllStringSubmatchIndex(p.body, -1) {
		b.WriteString(p.body[last:at[0]])
		b.WriteString(args[p.body[at[2]:at[3]]])
		if last = at[1]; b.Len() > maxFileBytes {
			return "", fmt.Errorf("the message would have more than %d bytes: give shorter arguments", maxFileBytes)
		}
	}
	b.WriteString(p.body[last:])
	return b.String(), nil
}
