package command

import (
	"context"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strings"
	"text/tabwriter"

	"example.com/erlmcp/function/internal/config"
)

const settingsUsage = `erlmcp settings lists the settings, which come from the environment, with their defaults.

  erlmcp settings [-markdown]

With -markdown the list is a table in Markdown.

`

func (p *Program) settings(_ context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("settings", flag.ContinueOnError)
	markdown := flags.Bool("markdown", false, "")
	if err := p.understand(flags, settingsUsage, args, 0); err != nil {
		return err
	}
	if *markdown {
		return settingsTable(out)
	}
	return WriteSettings(out)
}

// WriteSettings lists the settings.
func WriteSettings(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range config.Settings {
		fmt.Fprintf(t, "%s\t%s\n\tdefault: %s\n", s.Name, s.Help, s.Default)
	}
	return t.Flush()
}

// settingsTable writes the settings in Markdown: their names are code, and so is a default of one word that is a value.
func settingsTable(out io.Writer) error {
	names := make([]string, len(config.Settings))
	for i, s := range config.Settings {
		names[i] = s.Name
	}
	name := regexp.MustCompile(`\b(` + strings.Join(names, "|") + `)\b`)
	text := func(s string) string {
		return name.ReplaceAllString(strings.NewReplacer("|", `\|`, "*", `\*`).Replace(s), "`$1`")
	}
	var b strings.Builder
	b.WriteString("| setting | default | meaning |\n|---|---|---|\n")
	for _, s := range config.Settings {
		value := text(s.Default)
		if s.Default != "none" && !strings.Contains(s.Default, " ") {
			value = "`" + s.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Name, value, text(s.Help))
	}
	_, err := io.WriteString(out, b.String())
	return err
}
