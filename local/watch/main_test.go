package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A log is written by the watcher and read by the test.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

const source = `package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.WriteFile("said", []byte("WORD"+os.Args[1]), 0o644)
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	<-told
	os.Exit(3)
}
`

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.com/watched\n\ngo 1.26.0\n")
	write("main.go", strings.Replace(source, "WORD", "one", 1))
	var said log
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() { ended <- watch(ctx, ".", []string{"!"}, &said) }()
	wait := func(what string, holds func() bool) {
		t.Helper()
		for begin := time.Now(); !holds(); time.Sleep(20 * time.Millisecond) { // real time: a compiler and programs run
			if time.Since(begin) > time.Minute {
				t.Fatalf("%s: never; the watcher says\n%s", what, said.String())
			}
		}
	}
	says := func(word string) func() bool {
		return func() bool {
			text, _ := os.ReadFile("said")
			return string(text) == word+"!"
		}
	}
	wait("the first program", says("one"))
	write("main.go", strings.Replace(source, "WORD", "two", 1))
	wait("the next program", says("two"))
	write("main.go", "package main\n\nfunc main() { oops }\n")
	wait("a build that fails", func() bool { return strings.Contains(said.String(), "undefined: oops") })
	if err := os.Remove("said"); err != nil {
		t.Fatal(err)
	}
	write("more.go", "package main\n\nvar word = \"three\"\n")
	write("main.go", strings.Replace(source, `"WORD"`, "word", 1))
	wait("a program of two files", says("three"))
	if n := strings.Count(said.String(), "building…"); n != 4 {
		t.Errorf("building… is said %d times, want 4:\n%s", n, said.String())
	}
	stop()
	if status := <-ended; status != 3 {
		t.Errorf("status %d, want the program's 3", status)
	}
}

func TestWatchEndsWithTheFirstProgram(t *testing.T) {
	for text, want := range map[string]int{
		"package main\n\nimport \"os\"\n\nfunc main() { os.Exit(7) }\n": 7,
		"package main\n\nfunc main() { oops }\n":                        1,
	} {
		dir := t.TempDir()
		t.Chdir(dir)
		for name, text := range map[string]string{"go.mod": "module example.com/watched\n\ngo 1.26.0\n", "main.go": text} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var said log
		if status := watch(t.Context(), ".", nil, &said); status != want || !strings.HasPrefix(said.String(), "building…\n") {
			t.Errorf("status %d, want %d:\n%s", status, want, said.String())
		}
	}
}
