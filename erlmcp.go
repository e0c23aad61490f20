// Package erlmcp hands the function to Google's buildpack, which looks for it here and nowhere else:
//
//	gcloud run deploy erlmcp --source . --function erlmcp --base-image go126
package erlmcp

import (
	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"example.com/erlmcp/function"
)

func init() { functions.HTTP(function.Target, function.Handler()) }
