// Package erlmcp hands the function to Google's buildpack, which looks for it here and nowhere else:
//
//	gcloud run deploy erlmcp --source . --function erlmcp --base-image go126
package erlmcp

import (
	_ "github.com/GoogleCloudPlatform/functions-framework-go/functions"

	_ "example.com/erlmcp/function"
)
