package mcp

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
)

// The protocol's own schemas, one of each revision, are the oracle over the transcripts of the two rooms that answer in it: what a client
// generated from them would refuse, no transcript may hold.

// definitions are what results of a method are by the schemas.
var definitions = map[string]string{
	methodDiscover: "DiscoverResult", methodInitialize: "InitializeResult", methodPing: "EmptyResult", methodToolsList: "ListToolsResult",
	methodToolsCall: "CallToolResult", methodPromptsList: "ListPromptsResult", methodPromptsGet: "GetPromptResult",
	methodResourcesList: "ListResourcesResult", methodTemplatesList: "ListResourceTemplatesResult", methodResourcesRead: "ReadResourceResult",
	methodSubscribe: "EmptyResult", methodUnsubscribe: "EmptyResult", methodComplete: "CompleteResult", methodSetLevel: "EmptyResult",
	"notifications/progress": "ProgressNotification", "notifications/message": "LoggingMessageNotification",
}

// modernErrors are what the last revision says of errors by their codes: of the whole answer, or of its member error.
var modernErrors = map[int]struct {
	name  string
	whole bool
}{
	CodeParse: {"ParseError", false}, CodeInvalidRequest: {"InvalidRequestError", false}, CodeMethodNotFound: {"MethodNotFoundError", false},
	CodeInvalidParams: {"InvalidParamsError", false}, CodeInternal: {"InternalError", false}, CodeHeaderMismatch: {"HeaderMismatchError", true},
	CodeMissingCapability: {"MissingRequiredClientCapabilityError", true}, CodeUnsupportedVersion: {"UnsupportedProtocolVersionError", true},
}

type schemas map[string]*jsonschema.Resolved // by revision: each definition is a property

// validate holds a value against a definition of a revision.
func (s schemas) validate(revision, definition string, value any) error {
	if s[revision] == nil {
		text, err := os.ReadFile("testdata/schema/" + revision + ".json")
		if err != nil {
			return err
		}
		var root jsonschema.Schema
		if err := json.Unmarshal(text, &root); err != nil {
			return err
		}
		at, all := "#/$defs/", root.Defs
		if all == nil {
			at, all = "#/definitions/", root.Definitions
		}
		root.Properties = map[string]*jsonschema.Schema{}
		for name := range all {
			root.Properties[name] = &jsonschema.Schema{Ref: at + name}
		}
		root.AdditionalProperties = &jsonschema.Schema{Not: &jsonschema.Schema{}}
		if s[revision], err = root.Resolve(nil); err != nil {
			return err
		}
	}
	if err := s[revision].Validate(map[string]any{definition: value}); err != nil {
		return fmt.Errorf("%s of %s: %w", definition, revision, err)
	}
	return nil
}

// message holds one message of the server against the schemas; asked is the method that it answers.
func (s schemas) message(revision, asked string, message map[string]any) error {
	old := revision < Version20251125
	result, isResult := message["result"].(map[string]any)
	fault, isError := message["error"].(map[string]any)
	switch {
	case isResult:
		if v, ok := result["protocolVersion"].(string); ok && asked == methodInitialize {
			revision, old = v, v < Version20251125
		}
		definition := definitions[asked]
		if result["resultType"] == "input_required" {
			definition = "InputRequiredResult"
		}
		envelope := "JSONRPCResultResponse"
		if old {
			envelope = "JSONRPCResponse"
		}
		if err := s.validate(revision, envelope, message); err != nil {
			return err
		}
		return s.validate(revision, definition, result)
	case isError:
		envelope := "JSONRPCErrorResponse"
		if message["id"] == nil && old {
			revision = Version20251125 // from which on an id that can't be told is left out
		} else if old {
			envelope = "JSONRPCError"
		}
		if err := s.validate(revision, envelope, message); err != nil {
			return err
		}
		code, _ := fault["code"].(float64)
		if d, ok := modernErrors[int(code)]; ok && d.whole && revision == Version20260728 {
			return s.validate(revision, d.name, message)
		} else if ok && revision == Version20260728 {
			return s.validate(revision, d.name, fault)
		}
		return nil
	}
	method, _ := message["method"].(string)
	return s.validate(revision, definitions[method], message)
}

// revisionOf is the revision that a request is of.
func revisionOf(header http.Header, body string) string {
	switch version := ReadRequestHeader(header, "", "", time.Time{}).Version; {
	case strings.Contains(body, metaPrefix+`protocolVersion":"`):
		return Version20260728
	case legacyVersion(version):
		return version
	case version == "":
		return Version20250326
	}
	return Version20260728
}

func TestTranscriptsFitTheSchemas(t *testing.T) {
	paths, err := filepath.Glob("../*/testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	s, seen := schemas{}, map[string]int{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		a := parseArchive(string(text))
		for i := 0; i+1 < len(a.files); i += 2 {
			header, body := splitRequest(a.files[i].text)
			revision := revisionOf(header, body)
			methods := map[string]string{} // by id
			for _, request := range messages(body) {
				id, _ := json.Marshal(request["id"])
				methods[string(id)], _ = request["method"].(string)
			}
			for _, line := range strings.Split(a.files[i+1].text, "\n") {
				for _, message := range messages(strings.TrimPrefix(line, "data: ")) {
					seen[revision]++
					id, _ := json.Marshal(message["id"])
					if err := s.message(revision, methods[string(id)], message); err != nil {
						t.Errorf("%s, %s: %v\n%s", path, a.files[i+1].name, err, line)
					}
				}
			}
		}
	}
	for _, revision := range supported {
		if seen[revision] < 10 {
			t.Errorf("%d messages of %s were held against its schema", seen[revision], revision)
		}
	}
}

// messages are the objects of a text that is one, or an array of them; of another text there are none.
func messages(text string) (list []map[string]any) {
	text = strings.TrimPrefix(text, string(byteOrderMark))
	if json.Unmarshal([]byte(text), &list) == nil {
		return list
	}
	var one map[string]any
	if json.Unmarshal([]byte(text), &one) == nil && one != nil {
		list = []map[string]any{one}
	}
	return list
}
