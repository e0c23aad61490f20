package texts

import (
	"path"
	"strings"
	"unicode/utf8"
)

// mediaTypes are those of IANA's list by extension. The system's own table would differ from machine to machine.
var mediaTypes = map[string]string{
	".md": "text/markdown", ".markdown": "text/markdown", ".txt": "text/plain", ".text": "text/plain", ".html": "text/html", ".htm": "text/html",
	".css": "text/css", ".csv": "text/csv", ".tsv": "text/tab-separated-values", ".js": "text/javascript", ".json": "application/json",
	".yaml": "application/yaml", ".yml": "application/yaml", ".xml": "application/xml", ".sql": "application/sql", ".toml": "application/toml",
	".pdf": "application/pdf", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
	".svg": "image/svg+xml", ".avif": "image/avif", ".zip": "application/zip", ".gz": "application/gzip",
}

// mediaType is that of a file: by its extension, and of others text/plain where it is text.
func mediaType(at string, text []byte) string {
	switch known := mediaTypes[strings.ToLower(path.Ext(at))]; {
	case known != "":
		return known
	case utf8.Valid(text) && !strings.ContainsRune(string(text), 0):
		return "text/plain"
	}
	return "application/octet-stream"
}

func isMarkdown(at string) bool { return mediaType(at, nil) == "text/markdown" }
