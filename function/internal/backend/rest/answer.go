package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/erlmcp/function/internal/mcp"
)

// An Answer says what becomes of an API's answer. The zero value passes it on up to the bounds.
type Answer struct {
	// MaxBytes is how long JSON and texts may be that are passed on; default 64 KiB. What is longer is cut ([CutJSON], [CutText]), with a mark in words.
	MaxBytes int
	// MaxBinary is how many bytes a picture, sound or other file may have; default 1 MiB. What is larger is told of in words alone.
	MaxBinary int
	// Structured has JSON be the result's structured content as well: it is there twice then.
	Structured bool
	// Fields is what of JSON is kept; nil for all.
	Fields *Mask
	// Value makes another value of JSON, after Fields; nil for none. Numbers of the value that it is given are int64, uint64 or float64.
	Value func(ctx context.Context, body any) (any, error)
	// Pages follows an answer's pages; nil for none.
	Pages *Pages
	// ReadsOn has results say where what is left of an answer that was cut begins ([mcp.Result.More]), and a call that reads on ask the API again
	// for it. It is for requests that change nothing.
	ReadsOn bool
}

func (a *Answer) check(r *Request) error {
	var faults []error
	if a.MaxBytes < 0 || a.MaxBinary < 0 {
		faults = append(faults, errors.New("a bound of the answer is negative"))
	}
	if a.Pages != nil {
		faults = append(faults, a.Pages.check(r))
	}
	return errors.Join(faults...)
}

func (a *Answer) maxBytes() int {
	if a.MaxBytes > 0 {
		return a.MaxBytes
	}
	return defaultMaxBytes
}

func (a *Answer) maxBinary() int {
	if a.MaxBinary > 0 {
		return a.MaxBinary
	}
	return defaultMaxBinary
}

const (
	maxProblem = 64 << 10 // of an answer that says what is wrong, that are read
	maxDetail  = 1000     // of it, that are passed on
)

// A kind is what the bytes of an answer are, by the media type that the API says.
type kind int

const (
	kindEmpty kind = iota
	kindJSON
	kindText
	kindImage
	kindAudio
	kindBinary
)

// textTypes are those of application/ that people read.
var textTypes = map[string]bool{"application/xml": true, "application/yaml": true, "application/x-yaml": true, "application/x-ndjson": true, "application/jsonl": true,
	"application/javascript": true, "application/graphql": true, "application/sql": true, "application/toml": true, "application/x-www-form-urlencoded": true,
	"application/csv": true, "application/rtf": true, "image/svg+xml": true}

// kindOf says what an answer is: JSON only where the API says so and it is, and a text for all that claims to be one.
func kindOf(resp *response) (k kind, mediaType string) {
	if len(resp.body) == 0 || resp.status == http.StatusNoContent || resp.status == http.StatusResetContent {
		return kindEmpty, ""
	}
	mediaType, _, err := mime.ParseMediaType(resp.header.Get("Content-Type"))
	if err != nil && mediaType == "" {
		mediaType = "application/octet-stream"
		if utf8.Valid(resp.body) && bytes.IndexByte(resp.body, 0) < 0 {
			mediaType = "text/plain"
		}
	}
	top, _, _ := strings.Cut(mediaType, "/")
	switch {
	case isJSON(mediaType):
		if !resp.partial && json.Valid(resp.body) && utf8.Valid(resp.body) {
			return kindJSON, mediaType
		}
		return kindText, mediaType
	case top == "text" || textTypes[mediaType] || strings.HasSuffix(mediaType, "+xml") || strings.HasSuffix(mediaType, "+yaml"):
		return kindText, mediaType
	case top == "image":
		return kindImage, mediaType
	case top == "audio":
		return kindAudio, mediaType
	}
	return kindBinary, mediaType
}

// result makes the tool's result of an answer.
func (t *tool) result(ctx context.Context, c *mcp.Call, resp *response) (*mcp.Result, error) {
	a := t.plan.api
	if resp.status/100 != 2 {
		return failure(a.problem(resp)), nil
	}
	if coding := resp.header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") && len(resp.body) > 0 {
		return failure(fmt.Sprintf("%s answers in the encoding %.40q, which it was not asked for, and which is not read", a.Name, coding)), nil
	}
	resp.body = bytes.TrimPrefix(resp.body, []byte("\xef\xbb\xbf"))
	k, mediaType := kindOf(resp)
	switch k {
	case kindEmpty:
		text := fmt.Sprintf("done (%d)", resp.status)
		if to := resp.header.Get("Location"); to != "" && resp.status == http.StatusCreated {
			text += ", at " + clip(strings.ToValidUTF8(to, "�"), 300)
		}
		return &mcp.Result{Content: []mcp.Content{mcp.Text(text)}}, nil
	case kindJSON:
		return t.json(ctx, c, resp.body, nil)
	case kindText:
		if resp.partial && isJSON(mediaType) {
			return failure(fmt.Sprintf("%s answers more than %s of JSON, which are not read to the end%s", a.Name, size(int(a.maxRead())), t.askForLess())), nil
		}
		return t.text(ctx, c, resp)
	}
	if most := t.answer.maxBinary(); len(resp.body) > most || resp.partial {
		text := fmt.Sprintf("%s answers a file (%s) of %s, and at most %s are passed on", a.Name, clip(mediaType, 100), atLeast(resp), size(most))
		return failure(text), nil
	}
	block := mcp.Content{Type: "resource", Resource: &mcp.ResourceContents{URI: "urn:erlmcp:answer", MIMEType: mediaType, Blob: resp.body}}
	if k == kindImage {
		block = mcp.Content{Type: "image", MIMEType: mediaType, Data: resp.body}
	} else if k == kindAudio {
		block = mcp.Content{Type: "audio", MIMEType: mediaType, Data: resp.body}
	}
	return &mcp.Result{Content: []mcp.Content{block}}, nil
}

func failure(text string) *mcp.Result {
	return &mcp.Result{Content: []mcp.Content{mcp.Text(text)}, IsError: true}
}

// json passes JSON on, as it came where nothing says otherwise.
func (t *tool) json(ctx context.Context, c *mcp.Call, body []byte, notes []string) (*mcp.Result, error) {
	body = trim(body)
	if t.answer.Fields != nil {
		kept, ok := t.answer.Fields.append(nil, body, 0)
		if !ok {
			kept = body
		} else if len(kept) <= len("{}") && len(kept) < len(body) {
			notes = append(notes, "the answer has none of the fields that are kept of it")
		}
		body = kept
	}
	if t.answer.Value != nil {
		v, err := mcp.DecodeAnswer(body)
		if err != nil {
			return nil, fmt.Errorf("%s answers JSON that can't be read: %w", t.plan.api.Name, err)
		}
		if v, err = t.answer.Value(ctx, v); err != nil {
			return nil, fmt.Errorf("what %s answers is not as the tool expects: %w", t.plan.api.Name, err)
		}
		if body, err = jsonText(v); err != nil {
			return nil, err
		}
	}
	return t.shown(c, body, notes, true)
}

func (t *tool) text(ctx context.Context, c *mcp.Call, resp *response) (*mcp.Result, error) {
	if !resp.partial {
		return t.shown(c, decoded(resp), nil, false)
	}
	if c.From != nil { // then it was not
		return failure(errChanged.Error()), nil
	}
	cut := CutText(decoded(resp), t.answer.maxBytes())
	cut.Notes = []string{fmt.Sprintf("the first %d of more than %d bytes", len(cut.Shown), len(resp.body))}
	return t.marked(&cut, nil, t.askForLess(), false), nil
}

// decoded is a text in UTF-8.
func decoded(resp *response) []byte {
	if utf8.Valid(resp.body) {
		return resp.body
	}
	if resp.partial {
		if end := boundary(append(resp.body, 0x80), len(resp.body)); utf8.Valid(resp.body[:end]) {
			return resp.body[:end]
		}
	}
	_, params, _ := mime.ParseMediaType(resp.header.Get("Content-Type"))
	switch strings.ToLower(params["charset"]) {
	case "iso-8859-1", "latin1", "us-ascii", "windows-1252":
		var b bytes.Buffer
		for _, c := range resp.body {
			b.WriteRune(rune(c))
		}
		return b.Bytes()
	}
	return bytes.ToValidUTF8(resp.body, []byte("�"))
}

// shown makes the result of what a call shows of JSON or a text, with a mark where that is not all.
func (t *tool) shown(c *mcp.Call, whole []byte, notes []string, isJSON bool) (*mcp.Result, error) {
	if isJSON && (c.From != nil || len(whole) > t.answer.maxBytes()) {
		whole = compact(whole)
	}
	cut, err := t.part(c, whole, isJSON)
	if err != nil {
		return failure(err.Error()), nil
	}
	remedy, more := "", cut.More && t.answer.ReadsOn
	if !more && c.From == nil {
		remedy = t.askForLess()
	}
	r := t.marked(&cut, notes, remedy, isJSON && c.From == nil)
	if more {
		r.More = &mcp.Place{Path: cut.Path, From: cut.From, Hash: hashOf(whole, isJSON)}
	}
	return r, nil
}

// marked is the result of a part of an answer, with what is to be said of it.
func (t *tool) marked(cut *Cut, notes []string, remedy string, isJSON bool) *mcp.Result {
	r := &mcp.Result{Content: []mcp.Content{mcp.Text(string(cut.Shown))}}
	if isJSON && t.answer.Structured {
		if _, err := mcp.DecodeAnswer(cut.Shown); err == nil { // JSON that readers differ about is a text
			r.Structured = cut.Shown
		}
	}
	if cut.Notes != nil {
		notes = append(notes, "only a part is shown: "+strings.Join(cut.Notes, ", ")+remedy)
	}
	if notes != nil {
		r.Content = append(r.Content, mcp.Text("("+strings.Join(notes, "; ")+")"))
	}
	return r
}

// askForLess is a remedy for an answer that is too long.
func (t *tool) askForLess() string {
	if t.plan.hint == "" {
		return ""
	}
	return "; ask for less by the arguments, such as " + t.plan.hint
}

// problem says in words what an answer says is wrong: its status, and what is in it (RFC 9457), within bounds.
func (a *API) problem(resp *response) string {
	text := fmt.Sprintf("%s answers %d", a.Name, resp.status)
	if name := http.StatusText(resp.status); name != "" {
		text += " " + name
	}
	switch resp.status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		whose := "the credentials that this server has for it, not yours, were refused"
		if a.Auth == nil && len(a.Headers) == 0 {
			whose = "this server has no credentials for it"
		}
		if len(a.Forward) > 0 {
			whose = "the credentials that this server has for it, or the headers of yours that it forwards, were refused"
		}
		text += " (" + whose + ")"
	}
	if detail := detail(resp); detail != "" {
		text += ": " + detail
	}
	return text + waitInWords(resp.header, time.Now())
}

// detail is what an answer says of a fault: the title and detail of a problem, what APIs call message or error, or its text.
func detail(resp *response) string {
	k, mediaType := kindOf(resp)
	switch {
	case k == kindJSON:
		var parts []string
		for _, path := range [][]string{{"title"}, {"detail"}, {"message"}, {"error"}, {"error", "message"}, {"error_description"}, {"errors"}} {
			var text string
			raw := at(resp.body, path)
			if json.Unmarshal(raw, &text) != nil && path[0] == "errors" && !isNull(raw) {
				text = string(raw)
			}
			if text = strings.TrimSpace(text); text != "" {
				parts = append(parts, text)
			}
		}
		if parts == nil {
			parts = []string{string(resp.body)}
		}
		return clip(strings.Join(parts, ": "), maxDetail)
	case k == kindText && mediaType != "text/html":
		return clip(strings.TrimSpace(string(bytes.ToValidUTF8(resp.body, []byte("�")))), maxDetail)
	}
	return "" // a page for people at browsers says little to a model
}

// size is a number of bytes in words.
func size(n int) string {
	switch {
	case n >= 1<<20:
		return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB"
	case n >= 1<<10:
		return strconv.FormatFloat(float64(n)/(1<<10), 'f', 1, 64) + " KiB"
	}
	return strconv.Itoa(n) + " bytes"
}

func atLeast(resp *response) string {
	if resp.partial {
		return "more than " + size(len(resp.body))
	}
	return size(len(resp.body))
}
