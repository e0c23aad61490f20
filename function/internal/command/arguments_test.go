package command_test

import (
	"bytes"
	"context"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/app/controlplane"
	"example.com/erlmcp/function/internal/command"
	"example.com/erlmcp/function/internal/config"
)

// shop is the program of a repository of its own, with all that commands work on; settings come from the test.
func shop(settings map[string]string, change ...func(*app.Options)) *command.Program {
	o := app.Options{Getenv: func(name string) string { return settings[name] }}
	for _, c := range change {
		c(&o)
	}
	return &command.Program{
		Name: "shop", Version: "1.2.3", Product: app.Version,
		OpenOperator: func(ctx context.Context) (command.Operator, error) { return controlplane.OpenLocal(ctx, o) },
		OpenRecords: func(ctx context.Context, keyFile string) (command.Records, error) {
			return app.OpenRecords(ctx, keyFile, o)
		},
		OpenRecovery: func(ctx context.Context, keyFile string) (command.Recovery, error) {
			return app.OpenRecovery(ctx, keyFile, o)
		},
		ListBackups: app.ListBackups, PublicKeys: app.PublicKeys, VerifyExport: app.VerifyExport,
		Lint: func() ([]string, error) { return []string{"tool \"x\": no good", "tool \"y\": no better"}, nil },
	}
}

// line runs a command line and returns its status and all that it has printed and said, in which the program goes by its own name.
func line(t *testing.T, p *command.Program, words ...string) (status int, text string) {
	t.Helper()
	var out, said bytes.Buffer
	status = p.Run(words, &out, &said)
	text = out.String() + said.String()
	if words[0] == "settings" { // those are the product's, in its words
		return status, text
	}
	for _, name := range []string{"kill", "limits", "receipts", "verify", "backup", "restore", "drill", "keys", "rotate", "call", "tools"} {
		if strings.Contains(text, "erlmcp "+name+" ") && !strings.Contains(text, "erlmcp "+name+": ") {
			t.Errorf("%q: it goes by another name: %s", words, text)
		}
	}
	return status, text
}

// exported are receipts as an earlier version exported them, and root is the last root among them.
const (
	exported = "../receipt/verify/testdata/export.jsonl"
	root     = "2:5bcf04719296ffd2654f9743c1a424d7eacca4857cc6e72fe758ba64a8bc69c0"
)

// TestArguments is a table of command lines, their exit status, and what is said.
func TestArguments(t *testing.T) {
	t.Setenv("TAIEA_URL", "")
	for _, c := range []struct {
		line   string
		status int
		want   string
	}{
		{"kill tool:x -fro 1h", 2, "shop kill: the command line is wrong: flag provided but not defined: -fro"},
		{"kill tool:x -for 1w", 2, `shop kill: the command line is wrong: invalid value "1w" for flag -for: it is no time such as 90d`},
		{"kill tool:x -for 1d -reason r", 1, "GOOGLE_CLOUD_PROJECT"},
		{"receipts list -from 7x", 2, "24h or 7d"},
		{"keys add -x", 2, "not defined: -x"},
		{"keys mend", 2, "there is no shop keys mend"},
		{"help kill", 0, "shop kill SCOPE -lift"},
		{"help keys", 0, "shop keys rotate ID"},
		{"help receipts", 0, "shop receipts show ID"},
		{"help me", 2, `unknown command "me"`},
		{"keys", 0, "shop keys add"},
		{"help backup", 0, "shop backup PLACE -roots"},
		{"help restore", 0, "shop restore PLACE -confirm"},
		{"help drill", 0, "shop drill PLACE -into NAME"},
		{"backup", 2, "which place?"},
		{"backup -roots", 2, "which place?"},
		{"backup place -roots -list", 2, "do not go together"},
		{"backup -at 1h -roots place", 2, "do not go together"},
		{"backup -at noon place", 2, "24h or 7d"},
		{"backup one -roots two", 2, `what is ["two"]?`},
		{"backup -list none", 0, "SIGNED BY"},
		{"backup s3://bucket -list", 1, "neither a folder nor gs://BUCKET/PREFIX"},
		{"backup place", 1, "GOOGLE_CLOUD_PROJECT or STORE_FILE"},
		{"restore place -confirm -backup x", 2, "leave -backup out"},
		{"restore place -confirm -adopt", 2, "-adopt comes first"},
		{"restore -confirm", 2, "which place?"},
		{"drill place", 2, "wants a place and -into"},
		{"drill place -into drill -ended http://localhost:8080 -instances 0", 2, "-instances 0 is at least 1"},
		{"settings all", 2, "0 words are wanted"},
		{"help settings", 0, "shop settings [-markdown]"},
		{"tool:x kill", 2, `unknown command "tool:x"`},
		{"verify -root " + root + " -offline " + exported, 0, "nothing is altered"},
		{"verify -root 3" + root[1:] + " -offline " + exported, 1, "the last one is root 2: root 3 is missing"},
		{"verify -root 2:" + strings.Repeat("0", 64) + " -offline " + exported, 1, "REPLACED"},
		{"verify -root " + root + " -root 1" + root[1:] + " -offline " + exported, 1, "REPLACED"},
		{"verify -root 2 -offline " + exported, 2, "NUMBER:HASH"},
		{"verify -roots place -offline " + exported, 2, "-tenant and -roots"},
		{"drill -verify " + exported, 2, "whose signature?"},
		{"verify -offline " + exported, 0, "the last root is " + root},
		{"verify -offline " + exported + " -tenant acme", 2, "verified as a whole"},
		{"verify -offline none.jsonl", 1, "no such file"},
		{"verify -offline " + exported + " -keys none.pem", 1, "none.pem"},
		{"verify", 1, "says whose receipts these are"},
		{"receipts", 2, "list, show or export?"},
		{"receipts show", 2, "1 words are wanted"},
		{"receipts export -out x y", 2, "0 words are wanted"},
		{"limits", 1, "GOOGLE_CLOUD_PROJECT or REDIS_URL"},
		{"limits tool:x -per-second many", 2, "many"},
		{"limits tool:x -at-a-time 1.5", 2, "1.5"},
		{"limits -per-second 5", 2, "which scope?"},
		{"limits -per-second 5 tool:x y", 2, `what is ["y"]?`},
		{"drill -verify none.json -keys none.pem", 1, "none.json"},
		{"drill place -into x -within 0s", 2, "more than nothing"},
		{"lint", 1, "tool \"x\": no good\ntool \"y\": no better\n"},
		{"lint it", 2, "takes no arguments"},
		{"lint -h", 0, "shop lint: say what"},
		{"help", 0, "shop 1.2.3: a governed MCP server, made with erlmcp " + app.Version},
		{"help new", 0, "-module NAME"},
		{"version", 0, "1.2.3\n"},
		{"new", 2, "which folder"},
	} {
		status, said := line(t, shop(nil), strings.Fields(c.line)...)
		if status != c.status || !strings.Contains(said, c.want) {
			t.Errorf("shop %s: status %d, want %d with %q: %s", c.line, status, c.status, c.want, said)
		}
	}
}

// TestSettingsAreListed wants each setting with its default, as a list and as a table of Markdown.
func TestSettingsAreListed(t *testing.T) {
	_, list := line(t, shop(nil), "settings")
	_, table := line(t, shop(nil), "settings", "-markdown")
	rows := map[string]string{}
	for row := range strings.Lines(table) {
		if strings.Count(strings.ReplaceAll(row, `\|`, ""), "|") != 4 {
			t.Errorf("not three columns: %s", row)
		}
		if cells := strings.Split(row, "|"); len(cells) > 2 {
			rows[strings.Trim(cells[1], " `")] = row
		}
	}
	for _, s := range config.Settings {
		if !strings.Contains(list, s.Name) || !strings.Contains(list, "\tdefault: "+s.Default) && !strings.Contains(list, "default: "+s.Default) || rows[s.Name] == "" {
			t.Errorf("%s is not listed", s.Name)
		}
	}
	if len(rows) != len(config.Settings)+2 {
		t.Errorf("%d rows of %d settings", len(rows), len(config.Settings))
	}
}

// TestNew makes a repository. Whether a path can be that of a module Go says itself.
func TestNew(t *testing.T) {
	source, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		module, pkg, command string // "" where the path is refused
	}{
		{"github.com/acme/shop", "shop", "shop"},
		{"github.com/acme/shop/v2", "shop", "shop"},
		{"example.org/My_Tools.x", "mytoolsx", "My_Tools.x"},
		{"example.org/tools", "apptools", "tools"},
		{"example.org/func", "appfunc", "func"},
		{"example.org/2go", "app2go", "2go"},
		{"shop", "", ""},
		{"github.com", "", ""},
		{"github.com/acme/", "", ""},
		{"github.com/acme/a b", "", ""},
		{"github.com/acme/shop.", "", ""},
		{"example.com/erlmcp", "", ""},
		{"example.com/erlmcp/shop", "", ""},
		{"../shop", "", ""},
		{"", "", ""},
	} {
		if i == 1 {
			source = part(t, source) // to copy all of it once is enough
		}
		dir := filepath.Join(t.TempDir(), "new")
		status, said := line(t, shop(nil), "new", dir, "-module", c.module, "-source", source)
		if c.pkg == "" {
			if status != 2 || !strings.Contains(said, "is no path of a module of your own") {
				t.Errorf("%q: status %d: %s", c.module, status, said)
			}
			continue
		}
		if status != 0 || !strings.Contains(said, "make run") {
			t.Errorf("%q: status %d: %s", c.module, status, said)
			continue
		}
		list := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json")
		list.Dir = dir
		if module, err := list.Output(); err != nil || !strings.Contains(string(module), `"Path": "`+c.module+`"`) || !strings.Contains(string(module), `"Path": "./erlmcp"`) {
			t.Errorf("%q: go.mod: %v %s", c.module, err, module)
		}
		if _, err := os.Stat(filepath.Join(dir, "cmd", c.command, "main.go")); err != nil {
			t.Errorf("%q: %v", c.module, err)
		}
		clause := ""
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil || d.IsDir():
				return err
			case strings.HasSuffix(name, ".go"):
				f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.PackageClauseOnly)
				if err != nil {
					return err
				}
				if filepath.Dir(name) == dir {
					clause = f.Name.Name
				}
			}
			if strings.HasPrefix(name, filepath.Join(dir, "erlmcp")) {
				if strings.HasSuffix(name, "_test.go") || strings.Contains(name, "testdata") {
					t.Errorf("%q has %s", c.module, name)
				}
				return nil
			}
			text, err := os.ReadFile(name)
			if strings.Contains(string(text), "{{.") {
				t.Errorf("%q: a name is not filled in: %s", c.module, name)
			}
			return err
		})
		if err != nil || clause != c.pkg {
			t.Errorf("%q: the package at the root is %s, want %s: %v", c.module, clause, c.pkg, err)
		}
		if status, said := line(t, shop(nil), "new", dir, "-module", c.module, "-source", source); status != 1 || !strings.Contains(said, "is not empty") {
			t.Errorf("again: status %d: %s", status, said)
		}
	}
	for _, from := range []string{t.TempDir(), filepath.Join(source, "function")} {
		if status, said := line(t, shop(nil), "new", filepath.Join(t.TempDir(), "new"), "-module", "example.org/shop", "-source", from); status != 1 || !strings.Contains(said, "is not the source of") {
			t.Errorf("from %s: status %d: %s", from, status, said)
		}
	}
}

// part is a source that has of each folder one file.
func part(t *testing.T, source string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"go.mod", "go.sum", "function/tool.go", "function/ask_test.go", "local/embedded/redis.go", "local/run/run.go", "local/watch/main.go"} {
		text, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			text = []byte("package some\n")
		}
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
