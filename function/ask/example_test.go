package ask_test

import (
	"context"
	"fmt"

	"example.com/erlmcp/function"
	"example.com/erlmcp/function/ask"
)

// A tool that deletes asks the person first: what comes after the question happens once, and only after a yes.
func ExampleClient() {
	type in struct {
		Name string `json:"name"`
	}
	remove := function.NewTool("remove", "Deletes a file.", func(ctx context.Context, in in) (string, error) {
		var sure bool
		if err := ask.Client(ctx, ask.Confirm("sure", "Delete "+in.Name+"?", &sure)); err != nil {
			return "", err
		}
		if !sure {
			return "kept " + in.Name, nil
		}
		return "deleted " + in.Name, nil
	})
	fmt.Println(remove.Name())
	// Output: remove
}
