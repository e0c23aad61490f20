// Command erlmcp is the container's main: it serves the function, and holds the operator's commands.
package main

import (
	"example.com/erlmcp/function"
	"example.com/erlmcp/function/tools"
)

func main() { function.Main(function.Options{Catalog: tools.Catalog()}) }
