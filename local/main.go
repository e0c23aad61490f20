// Command local runs the function on this machine with everything that it needs inside one process, and a sample catalog to
// try it with:
//
//	go run ./local
//
// It listens on loopback only, unless it is told otherwise and who may call. Settings come from the environment, as everywhere (go run ./local -h lists them).
package main

import (
	"example.com/erlmcp/function/tools"
	"example.com/erlmcp/local/bookshop"
	"example.com/erlmcp/local/run"
	"example.com/erlmcp/local/sample"
)

func main() {
	run.Main(run.Program{
		Catalog:  tools.Catalog(),
		Commands: "go run ./function/cmd/erlmcp",
		Sample: &run.Sample{
			What: "the sample catalog of world cities", Catalog: sample.Catalog(), Tool: "distance", Tries: tries,
			Service: &run.Service{
				What: "the bookshop", Tries: bookTries, Handler: bookshop.New(), Setting: "BOOKSHOP_URL", Dir: "local/bookshop", Catalog: "catalog.yaml",
				Files: map[string][]byte{"catalog.yaml": bookshop.Catalog, "openapi.yaml": bookshop.Document},
			},
		},
	})
}
