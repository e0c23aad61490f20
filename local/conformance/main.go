// Command conformance serves the fixtures that the official MCP conformance suite calls, through the product as it is: the
// exported function package, with every guard on and the settings from the environment.
package main

import "example.com/erlmcp/function"

func main() {
	function.Main(
		function.WithLoopback(),
		function.WithInfo(function.Info{Name: "erlmcp-conformance", Version: function.Version}),
		function.WithTools(contentTools()...),
		function.WithTools(askingTools()...),
		function.WithResources(resources()...),
		function.WithPrompts(prompts()...),
	)
}
