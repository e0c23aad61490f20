package functiontest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"example.com/erlmcp/function"
	"example.com/erlmcp/function/ask"
)

type in struct {
	Name  string `json:"name" header:"Name"`
	Count int    `json:"count,omitempty" header:"Count"`
}

type out struct {
	Greeting string `json:"greeting"`
	Tenant   string `json:"tenant"`
}

func greet(ctx context.Context, in in) (out, error) {
	if in.Name == "nobody" {
		return out{}, errors.New("nobody is there")
	}
	if in.Name == "panic" {
		panic("x")
	}
	function.Progress(ctx, 1, 2, "half")
	var formal bool
	var said ask.ModelAnswer
	if err := ask.Client(ctx, ask.Confirm("formal", "Formally?", &formal)); err != nil {
		return out{}, err
	}
	if err := ask.Client(ctx, ask.Model("style", ask.ModelRequest{Prompt: "How?"}, &said)); err != nil {
		return out{}, err
	}
	return out{fmt.Sprintf("%s, %s (formal: %t)", said.Text, in.Name, formal), function.Caller(ctx).Tenant}, nil
}

func TestCall(t *testing.T) {
	tool := function.NewTool("greet", "Greets.", greet)
	r := Call(t, tool, in{Name: "Ada", Count: 3}, Confirm("formal", true), Say("style", "Good day"))
	var got out
	if r.Decode(t, &got); got != (out{"Good day, Ada (formal: true)", "local"}) {
		t.Errorf("%+v %+v", got, r)
	}
	if !slices.Equal(r.Asked, []string{"formal", "style"}) || len(r.Progress) != 3 || r.Progress[0] != (Progress{1, 2, "half"}) {
		t.Errorf("%+v", r)
	}
	for _, c := range []struct {
		name    string
		args    any
		answers []Answer
		want    Response
	}{
		{"declined", in{Name: "Ada"}, []Answer{Decline("formal")}, Response{Text: "the user declined", IsError: true}},
		{"tool error", in{Name: "nobody"}, nil, Response{Text: "nobody is there", IsError: true}},
	} {
		r := Call(t, tool, c.args, c.answers...)
		if r.Text != c.want.Text || r.IsError != c.want.IsError || r.Error != nil {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
	if r := Call(t, tool, map[string]any{"Name": "Ada"}); !r.IsError {
		t.Errorf("a wrong argument: %+v", r)
	}
	if r := Call(t, tool, in{Name: "panic"}); r.Error == nil || r.Error.Code != -32603 {
		t.Errorf("a panic: %+v", r)
	}
}
