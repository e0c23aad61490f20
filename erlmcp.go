// Package erlmcp hands the functions to Google's buildpack, which looks for them here and nowhere else:
//
//	gcloud run deploy erlmcp --source . --function erlmcp --base-image go126
package erlmcp

import (
	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"example.com/erlmcp/function"
	"example.com/erlmcp/function/tools"
)

func init() { function.Register(functions.HTTP, tools.Catalog()) }
