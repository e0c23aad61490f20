// Command conformance serves the fixtures that the official MCP conformance suite calls, through the product as it is: the
// exported function package, with every guard on and the settings from the environment.
package main

import (
	"slices"

	"example.com/erlmcp/function"
)

func main() {
	function.Main(
		function.Options{Loopback: true, Catalog: function.Catalog{Info: function.Info{Name: "erlmcp-conformance", Version: function.Version}, Tools: slices.Concat(contentTools(), askingTools()), Resources: resources(), Prompts: prompts()}})
}
